//! What the included sources use of tasks.

pub(crate) mod shared {
    use bytes::Bytes;

    pub(crate) fn put(_: u64, _: Bytes, _: Vec<Bytes>) {}

    pub(crate) fn drop_value(_: u64) {}
}

/// No shared objects travel in the models.
pub(crate) mod passengers {
    use bytes::Bytes;

    pub(crate) fn list(_parts: &[Bytes]) -> Option<&Bytes> {
        None
    }
}

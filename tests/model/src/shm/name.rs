//! There is one segment.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentId {
    pub(crate) pid: u32,
    pub(crate) number: u64,
}

pub(crate) const ONLY: SegmentId = SegmentId { pid: 1, number: 1 };

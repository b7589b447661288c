//! What all types of this module have in common, written down once.

/// What all handles have in common: they travel, are cloned, and can have a name.
macro_rules! handle {
    ($type:ident $(<$generic:ident : $bound:path>)?, $fits:expr) => {
        impl$(<$generic: $bound>)? $type$(<$generic>)? {
            /// Names it, for errors and for [`waiters`](crate::sync::waiters): at most 39 bytes are kept.
            /// All handles on it see the name.
            #[must_use]
            pub fn named(self, name: &str) -> Self {
                self.shared.object().set_name(name);
                self
            }

            /// Its name, if it has one.
            pub fn name(&self) -> Option<String> {
                self.shared.object().name()
            }
        }

        impl$(<$generic: $bound>)? ::std::clone::Clone for $type$(<$generic>)? {
            /// Another handle on the same object.
            fn clone(&self) -> Self {
                let shared = $crate::sync::shared::Shared::clone(&self.shared);
                Self { shared: shared.into() $(, element: ::std::marker::PhantomData::<fn() -> $generic>)? }
            }
        }

        impl$(<$generic: $bound>)? ::serde::Serialize for $type$(<$generic>)? {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.shared.serialize(serializer)
            }
        }

        impl$(<$generic: $bound>)? ::std::fmt::Debug for $type$(<$generic>)? {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($type)).field("name", &self.name()).finish_non_exhaustive()
            }
        }

        impl<'de $(, $generic: $bound)?> ::serde::Deserialize<'de> for $type$(<$generic>)? {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let shared = $crate::sync::shared::deserialize(deserializer, $fits)?;
                Ok(Self { shared: shared.into() $(, element: ::std::marker::PhantomData::<fn() -> $generic>)? })
            }
        }
    };
}
pub(super) use handle;

/// The ways to lock. They are made of the type's `take`, and of `take_at_once` for the usual case.
macro_rules! lockable {
    ($type:ident $(<$generic:ident : $bound:path>)?, $guard:ty) => {
        impl$(<$generic: $bound>)? $type$(<$generic>)? {
            /// Waits until the lock is free, and takes it.
            ///
            /// # Errors
            /// [`LockError::HolderDied`] if a holder has died and nobody has recovered the lock since;
            /// [`LockError::Deadlock`] if waiting would close a circle.
            #[track_caller]
            #[inline]
            pub fn lock(&self) -> Result<$guard, LockError> {
                let location = ::std::panic::Location::caller();
                match self.take_at_once(location) {
                    Some(guard) => Ok(guard),
                    None => self.wait_for_lock(location),
                }
            }

            #[cold]
            fn wait_for_lock(
                &self,
                location: &'static ::std::panic::Location<'static>,
            ) -> Result<$guard, LockError> {
                loop {
                    if let Some(guard) = self.take(Patience::Forever, Abandoned::Refuse, location)? {
                        return Ok(guard);
                    }
                }
            }

            /// Takes the lock if it is free; `None` if it is not.
            ///
            /// # Errors
            /// [`LockError::HolderDied`] as for [`lock`](Self::lock).
            #[track_caller]
            pub fn try_lock(&self) -> Result<Option<$guard>, LockError> {
                self.take(Patience::No, Abandoned::Refuse, ::std::panic::Location::caller())
            }

            /// Waits at most `timeout`; `None` if the lock was not free in time.
            ///
            /// # Errors
            /// [`LockError::HolderDied`] as for [`lock`](Self::lock). Never a deadlock: the wait ends by
            /// itself.
            #[track_caller]
            pub fn lock_timeout(
                &self,
                timeout: ::std::time::Duration,
            ) -> Result<Option<$guard>, LockError> {
                self.take(Patience::of(timeout), Abandoned::Refuse, ::std::panic::Location::caller())
            }

            /// Takes the lock even if a holder has died. The mark of that stays until `mark_consistent` is
            /// called on the guard.
            ///
            /// # Errors
            /// [`LockError::Deadlock`] if waiting would close a circle.
            #[track_caller]
            pub fn lock_recover(&self) -> Result<$guard, LockError> {
                let location = ::std::panic::Location::caller();
                loop {
                    if let Some(guard) = self.take(Patience::Forever, Abandoned::Take, location)? {
                        return Ok(guard);
                    }
                }
            }

            /// As [`lock_recover`](Self::lock_recover), but waits at most `timeout`; `None` if the lock was not
            /// free in time, and nobody had died with it.
            ///
            /// # Errors
            /// As [`lock_timeout`](Self::lock_timeout), but never for a holder that has died.
            #[track_caller]
            pub fn lock_recover_timeout(
                &self,
                timeout: ::std::time::Duration,
            ) -> Result<Option<$guard>, LockError> {
                self.take(Patience::of(timeout), Abandoned::Take, ::std::panic::Location::caller())
            }
        }
    };
}
pub(super) use lockable;

/// What guards tell of a holder that died. `$hold` is the field that has it all.
macro_rules! guard {
    ($type:ty, $field:ident . $($hold:ident)? $(, $generic:ident : $bound:path)?) => {
        impl$(<$generic: $bound>)? $type {
            /// Who died while holding it, as long as the lock is marked with that.
            pub fn holder_died(&self) -> Option<$crate::sync::HolderDied> {
                self.$field.holder_died()
            }

            /// All is well again with what the lock protects: takes the mark of the dead holder away.
            pub fn mark_consistent(&mut self) {
                self.$field$(.$hold())?.mark_consistent();
            }
        }

        impl$(<$generic: $bound>)? ::std::fmt::Debug for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct("Guard").field("holder_died", &self.holder_died()).finish_non_exhaustive()
            }
        }
    };
}
pub(super) use guard;

/// What a condition needs of a guard: its lock alone keeps others away. A part of an array is no such guard, because the
/// whole may be taken, or divided anew, while the part is given up.
macro_rules! held {
    ($type:ty, $field:ident . $($hold:ident)? $(, $generic:ident : $bound:path)?) => {
        impl$(<$generic: $bound>)? $crate::sync::hold::Held for $type {
            fn suspended(
                &mut self,
                location: &'static ::std::panic::Location<'static>,
                meanwhile: &mut dyn FnMut(),
            ) -> Result<(), $crate::sync::LockError> {
                self.$field$(.$hold())?.suspended(location, meanwhile)
            }
        }
    };
}
pub(super) use held;

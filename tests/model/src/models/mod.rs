//! The models, by what they explore.

pub mod bell;
pub mod claim;
pub mod lane;
pub mod lock;
pub mod ring;

//! What failed, over all families: each contributes [`crate::model::Failure`]s, this is the table of them. No family
//! of its own: no program asks the kernel for it.

pub mod columns;
pub mod model;
pub mod row;

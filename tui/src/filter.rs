//! The filter language.

/// A parsed expression.
#[derive(Debug)]
pub struct Filter;

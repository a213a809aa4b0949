//! What can be drawn, whatever it shows: lines of pieces, the table, prompts, cards, key lists. Knows
//! columns and plain values; knows no view and no state of the console. Text comes in as [`Shown`] only.
//!
//! [`Shown`]: crate::records::Shown

mod card;
mod line;
mod prompt;
mod spark;
mod table;

pub use card::{Card, Entry};
pub use line::{Line, put, width, wrap};
pub use prompt::Prompt;
pub use spark::{spark, spark_width};
pub use table::{Placed, Table, fit, head_at, title_of};

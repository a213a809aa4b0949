//! fluoro: a live X-ray of a Linux box.
//!
//! The crate is layered; a module may use what stands below it and never what stands above
//! (`cargo xtask tidy` checks it). From the top: `cli`, `app`; `engine`; `views`; `widgets`, `theme`;
//! `families`, `model`, `filter`, `columns`, `fmt`, `wording`; `records`. Beside the model, used by the engine
//! alone: `collect` over `kernel`.

pub mod app;
pub mod cli;
pub mod collect;
pub mod columns;
pub mod engine;
pub mod families;
pub mod filter;
pub mod fmt;
pub mod json;
pub mod kernel;
pub mod log;
pub mod model;
pub mod records;
pub mod table;
pub mod theme;
pub mod views;
pub mod widgets;
pub mod wording;

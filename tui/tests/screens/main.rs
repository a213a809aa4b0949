//! Whole screens compared with committed text, and scripted sessions through `update` on a virtual clock.
//! `FLUORO_BLESS=1 cargo test --test screens` writes the text anew: look at what changed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod console;
mod pages;
mod rows;
mod sessions;
mod views;

//! The families: one subject the kernel is asked about, under one name in every layer.

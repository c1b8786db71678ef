//! A small world to test in.

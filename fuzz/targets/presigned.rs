//! SigV4 in the query.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::presigned(data));

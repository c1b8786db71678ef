//! What agents say over ACS and TCS.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::frames(data));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let kept = include_str!("../../crates/sim/tests/corpus/frames.txt");
    fuzz::change(fuzz::Kind::Frame, kept, &mut data[..max_size], size, seed)
});

#![no_main]

mod framing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| framing::check(
    sonde::wire::Framing::PayloadParts,
    input
));

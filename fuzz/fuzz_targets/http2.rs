#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sonde::transport::fuzzing::http2(input));

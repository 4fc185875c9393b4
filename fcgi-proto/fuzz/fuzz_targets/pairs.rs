#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fcgi_proto_fuzz::pairs(data));

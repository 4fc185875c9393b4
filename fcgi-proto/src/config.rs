/// What an application lets its peers do, and says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The largest `FCGI_PARAMS` stream of a request, in encoded bytes, inclusive. Default 1 MiB.
    pub max_params_len: u32,
    /// The most name-value pairs of a request, inclusive. Default 16,384.
    pub max_pairs: u32,
    /// `FCGI_MAX_CONNS`, given when a server asks. Default 1.
    pub max_conns: u32,
    /// `FCGI_MAX_REQS`, given when a server asks. Default 1.
    pub max_reqs: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_params_len: 1 << 20, max_pairs: 16384, max_conns: 1, max_reqs: 1 }
    }
}

use crate::Response;

impl Response<'_> {
    /// Sends the client to `location`: with status 302 it asks there this time, with 303 by GET, with 307 by the same
    /// method again; 301 and 308 are the lasting forms of 302 and 307. Other statuses are refused.
    ///
    /// `location` is a URL, or the part of one from its path on, in which the client's URL continues: `"/login"`. The
    /// specification of CGI lets a web server answer a local path by itself, without the client (RFC 3875 section
    /// 6.2.2); with the status that is always written here nginx, lighttpd, Apache, HAProxy, Caddy and h2o all send it
    /// to the client. What may not stand in a URL, such as blanks, is percent-encoded, `%` is left alone, and control
    /// characters are refused. Nothing else is checked: who lets the client choose the location lets it choose the
    /// site.
    pub fn redirect(&mut self, status: u16, location: &str) -> &mut Self {
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return self.refuse("a redirect has status 301, 302, 303, 307 or 308");
        }
        if location.is_empty() || location.contains(|c: char| c.is_ascii_control()) {
            return self.refuse("a location is not empty and has no control characters");
        }
        self.status(status)
            .set("Location", percent_encode(location.as_bytes(), |byte| b"!#$%&'()*+,/:;=?@[]".contains(&byte)))
    }
}

/// `bytes` as a part of a URL, in which letters, digits, `-._~` and what `keeps` likes stay as they are (RFC 3986).
pub(crate) fn percent_encode(bytes: &[u8], keeps: impl Fn(u8) -> bool) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keeps(byte) {
            encoded.push(byte);
        } else {
            encoded.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_stand_in_a_url() {
        assert_eq!(percent_encode("/a b%~\u{e9}\0".as_bytes(), |byte| byte == b'/'), b"/a%20b%25~%C3%A9%00");
    }
}

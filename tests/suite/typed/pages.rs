//! Pages in Markdown.

use std::fs;

use fcgi_tests::{blocks, repository};

use super::{follow_all, needs_a_copy};
use crate::machine::User;

fn page(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Where nginx serves already, as on the machine of somebody who reads about it.
const NGINX: &str = "nginx";

macro_rules! typed {
    ($($name:ident: $path:literal as $user:ident after $prepare:expr;)*) => {
        $(#[test]
        fn $name() {
            needs_a_copy!();
            follow_all($path, &blocks(&page($path)), User::$user, $prepare);
        })*
    };
}

mod servers {
    use super::*;

    typed! {
        readme_as_root: "README.md" as Root after NGINX;
        readme_as_an_ordinary_user: "README.md" as Reader after NGINX;
    }
}

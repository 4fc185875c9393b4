//! examples/servers/README.md: what it shows is cut out of what the tests use.

use std::fs;

use fcgi_tests::{blocks, once_is_enough, repository};

/// What stands in the page and in the configurations.
const NAMES: [(&str, &str); 10] = [
    ("unix//run/app.sock", "unix/@SOCKET@"),
    ("-connect /run/app.sock", "-connect @ADDRESS@"),
    ("/run/app.sock", "@SOCKET@"),
    ("/run/cgi.sock", "@SOCKET@"),
    ("/srv/git", "@REPOSITORIES@"),
    (":9000", ":@APPPORT@"),
    ("/usr/local/bin/app", "@APP@"),
    ("root /srv/www", "root @ROOT@"),
    ("home /srv/www", "home @ROOT@"),
    ("docroot @ROOT@", "docroot /srv/www"),
];

fn page() -> String {
    fs::read_to_string(repository().join("examples/servers/README.md")).expect("the page can be read")
}

/// Every line of a block is a line of the file `test=FILE`, and they come in the same order.
#[test]
fn what_is_shown_is_what_is_tested() {
    once_is_enough!();
    let mut shown = 0;
    for block in blocks(&page()) {
        if block.language == "sh" && block.value("from").is_none() {
            continue; // typed by typed::pages
        }
        let name = block.value("from").unwrap_or_else(|| panic!("line {}: a block without from=", block.line));
        let file = fs::read_to_string(repository().join("examples/servers").join(name)).expect("a configuration");
        let mut lines = file.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
        for line in block.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let wanted = NAMES.iter().fold(line.to_owned(), |line, (shown, used)| line.replace(shown, used));
            assert!(lines.any(|found| found == wanted), "line {}: '{wanted}' is not in {name}", block.line);
        }
        shown += 1;
    }
    assert!(shown > 5, "only {shown} blocks");
}

/// Every configuration has its place on the page, and every link leads to one.
#[test]
fn every_configuration_is_on_the_page() {
    once_is_enough!();
    let page = page();
    let folder = repository().join("examples/servers");
    for entry in fs::read_dir(&folder).expect("a folder of configurations") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        assert!(name == "README.md" || page.contains(&format!("]({name})")), "{name} is not on the page");
    }
    let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with('#')) {
        assert!(folder.join(link).is_file(), "{link} is not there");
    }
}

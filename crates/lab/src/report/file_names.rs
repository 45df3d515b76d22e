//! Names of the files of a report.

use std::collections::BTreeSet;

/// The limit of a file's or a mode's name in a file name.
const MAX_SLUG_BYTES: usize = 40;

/// A text as a part of a file name: lower-case ASCII letters and digits, separated by `-`.
pub(crate) fn slug(text: &str) -> String {
    let letters = text.to_lowercase();
    let letters: String = letters
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { ' ' })
        .collect();
    let mut slug = letters.split_whitespace().collect::<Vec<_>>().join("-");
    slug.truncate(MAX_SLUG_BYTES);
    if slug.is_empty() { "unnamed".to_owned() } else { slug.trim_end_matches('-').to_owned() }
}

/// Appends numbers to equal names, so that each gets a file of its own. Empty names stay empty.
pub(crate) fn make_unique<'a>(names: impl IntoIterator<Item = &'a mut String>) {
    let mut taken = BTreeSet::new();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        let wanted = name.clone();
        let mut number = 1;
        while !taken.insert(name.clone()) {
            number += 1;
            *name = format!("{wanted}-{number}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_plain_and_unique() {
        assert_eq!(slug("nginx+curl, 10 MB (ä)"), "nginx-curl-10-mb");
        assert_eq!(slug("../../x"), "x");
        assert_eq!(slug("…"), "unnamed");
        assert!(slug(&"long ".repeat(50)).len() <= MAX_SLUG_BYTES);
        let mut names = ["a", "", "a", "", "a-2"].map(str::to_owned);
        make_unique(&mut names);
        assert_eq!(names, ["a", "", "a-2", "", "a-2-2"]);
    }
}

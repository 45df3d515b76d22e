//! Names of the files of a report.

use std::collections::BTreeSet;

/// The limit of a file's or a mode's name in a file name. A file system allows 255 bytes in all.
const MAX_SLUG_BYTES: usize = 60;

/// A text as a part of a file name: lower-case letters and digits of any script, separated by `-`.
pub(crate) fn slug(text: &str) -> String {
    let letters = text.to_lowercase();
    let letters: String =
        letters.chars().map(|letter| if letter.is_alphanumeric() { letter } else { ' ' }).collect();
    let mut slug = letters.split_whitespace().collect::<Vec<_>>().join("-");
    let end = (0..=MAX_SLUG_BYTES.min(slug.len())).rev().find(|&end| slug.is_char_boundary(end));
    slug.truncate(end.unwrap_or_default());
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
        assert_eq!(slug("nginx+curl, 10 MB (ä)"), "nginx-curl-10-mb-ä");
        assert_eq!(slug("随机文件 10 MiB"), "随机文件-10-mib");
        assert_eq!(slug(&"随".repeat(50)).chars().count(), MAX_SLUG_BYTES / 3);
        assert_eq!(slug("../../x"), "x");
        assert_eq!(slug("…"), "unnamed");
        assert!(slug(&"long ".repeat(50)).len() <= MAX_SLUG_BYTES);
        let mut names = ["a", "", "a", "", "a-2"].map(str::to_owned);
        make_unique(&mut names);
        assert_eq!(names, ["a", "", "a-2", "", "a-2-2"]);
    }
}

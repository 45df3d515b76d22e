//! The experiments that are part of the program. Each is a scenario file that users can copy and
//! change.

use std::path::Path;

use super::{Scenario, ScenarioError};

/// The name and the text of each file.
const FILES: [(&str, &str); 7] = [
    ("cs-vs-p2p", include_str!("../../scenarios/cs-vs-p2p.toml")),
    ("half-and-half", include_str!("../../scenarios/half-and-half.toml")),
    ("engines", include_str!("../../scenarios/engines.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("slow-origin", include_str!("../../scenarios/slow-origin.toml")),
    ("mixed-links", include_str!("../../scenarios/mixed-links.toml")),
    ("smoke", include_str!("../../scenarios/smoke.toml")),
];

/// The names of all built-in experiments.
pub const BUILT_IN_NAMES: [&str; FILES.len()] = {
    let mut names = [""; FILES.len()];
    let mut index = 0;
    while index < FILES.len() {
        names[index] = FILES[index].0;
        index += 1;
    }
    names
};

/// The limit of an unknown name in an error.
const MAX_SHOWN_NAME_CHARS: usize = 64;

/// The text of a built-in experiment's file.
///
/// # Errors
/// When there is none of this name.
pub fn built_in_text(name: &str) -> Result<&'static str, ScenarioError> {
    let found = FILES.iter().find(|(other, _)| *other == name);
    found
        .map(|&(_, text)| text)
        .ok_or_else(|| ScenarioError::NoSuchName(name.chars().take(MAX_SHOWN_NAME_CHARS).collect()))
}

/// A built-in experiment.
///
/// # Errors
/// When there is none of this name.
pub fn built_in(name: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(built_in_text(name)?, Path::new(&format!("{name}.toml")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_is_valid() {
        for name in BUILT_IN_NAMES {
            let scenario = built_in(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(scenario.name, name);
        }
        let error = built_in("cs-vs-p3p").unwrap_err().to_string();
        assert!(
            error.contains("`cs-vs-p3p`") && error.contains("half-and-half, engines"),
            "{error}"
        );
    }
}

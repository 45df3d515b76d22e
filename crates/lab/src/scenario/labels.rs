//! Reads the table `labels` of a scenario: words that replace those of the report.

use std::collections::BTreeMap;

use super::{
    Mode, ScenarioError, UnknownMode,
    toml_tables::{LabelsTable, WordTable},
    values::{Values, is_printable, shortened},
};
use crate::record::{AXES, LINES, Labels, TITLES};

/// The limit of a word: there has to be room for it in a picture.
const MAX_WORD_CHARS: usize = 60;
/// The limit of a language tag.
const MAX_TAG_CHARS: usize = 35;

impl Values<'_> {
    /// Reads the whole table.
    pub(super) fn labels(&self, table: LabelsTable) -> Result<Labels, ScenarioError> {
        let language = match &table.language {
            None => None,
            Some(leaf) => {
                let tag = self.text("labels.language", leaf, "zh-CN")?;
                let parts = || tag.split('-');
                let is_tag = tag.len() <= MAX_TAG_CHARS
                    && parts().next().is_some_and(|part| (2..=3).contains(&part.len()))
                    && parts().all(|part| {
                        (1..=8).contains(&part.len())
                            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
                    });
                if !is_tag {
                    return Err(self.refuse("labels.language", leaf, "a tag such as \"zh-CN\""));
                }
                Some(tag.to_owned())
            }
        };
        Ok(Labels {
            language,
            modes: self.words("modes", &table.modes, |key| {
                let mode: Mode = key.parse().map_err(|error: UnknownMode| error.to_string())?;
                Ok(mode.id().to_owned())
            })?,
            axes: self.words("axes", &table.axes, |key| one_of(key, &AXES))?,
            titles: self.words("titles", &table.titles, |key| one_of(key, &TITLES))?,
            lines: self.words("lines", &table.lines, |key| one_of(key, &LINES))?,
        })
    }

    fn words(
        &self,
        name: &str,
        table: &WordTable,
        id_of: impl Fn(&str) -> Result<String, String>,
    ) -> Result<BTreeMap<String, String>, ScenarioError> {
        let mut words = BTreeMap::new();
        for (key, leaf) in table {
            let path = format!("labels.{name}.{}", shortened(key.get_ref()));
            let wrong = |reason: String| self.wrong(key.span().start, &path, reason);
            let id = id_of(key.get_ref()).map_err(wrong)?;
            let word = self.text(&path, leaf, "seconds")?;
            let length = word.chars().count();
            if !(1..=MAX_WORD_CHARS).contains(&length) || !is_printable(word) {
                let limit = format!("one line of 1 to {MAX_WORD_CHARS} characters");
                return Err(self.refuse(&path, leaf, &limit));
            }
            if words.insert(id, word.to_owned()).is_some() {
                let reason = format!("`{}` has two labels", shortened(key.get_ref()));
                return Err(self.wrong(key.span().start, &path, reason));
            }
        }
        Ok(words)
    }
}

/// The key, if it is one of these.
fn one_of(key: &str, keys: &[(&str, &str)]) -> Result<String, String> {
    if keys.iter().any(|(known, _)| *known == key) {
        return Ok(key.to_owned());
    }
    let all: Vec<&str> = keys.iter().map(|(known, _)| *known).collect();
    Err(format!("there is none of this name; there are {}", all.join(", ")))
}

//! The keys of a scenario's TOML file. Values are kept unparsed, with their positions in the file,
//! until `values` reads them.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Spanned, Value};

/// A value and its position.
pub(super) type Leaf = Spanned<Value>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ScenarioTable {
    pub(super) title: Leaf,
    pub(super) users: Leaf,
    pub(super) origins: Option<Leaf>,
    pub(super) modes: Spanned<Vec<Leaf>>,
    pub(super) repeat: Option<Leaf>,
    pub(super) piece_length: Option<Leaf>,
    pub(super) seed: Option<Leaf>,
    pub(super) limit: Option<Leaf>,
    pub(super) network: NetworkTable,
    #[serde(rename = "file")]
    pub(super) files: Vec<Spanned<FileTable>>,
    #[serde(rename = "event", default)]
    pub(super) events: Vec<EventTable>,
    #[serde(default)]
    pub(super) labels: LabelsTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelsTable {
    pub(super) language: Option<Leaf>,
    #[serde(default)]
    pub(super) modes: WordTable,
    #[serde(default)]
    pub(super) axes: WordTable,
    #[serde(default)]
    pub(super) titles: WordTable,
    #[serde(default)]
    pub(super) lines: WordTable,
}

/// Words by the keys that they replace.
pub(super) type WordTable = BTreeMap<Spanned<String>, Leaf>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct NetworkTable {
    pub(super) rate: Leaf,
    pub(super) delay: Option<Leaf>,
    pub(super) queue: Option<Leaf>,
    pub(super) congestion_control: Option<Leaf>,
    pub(super) trunk: Option<Leaf>,
    #[serde(default)]
    pub(super) hosts: BTreeMap<Spanned<String>, LinkTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkTable {
    pub(super) rate: Option<Leaf>,
    pub(super) up: Option<Leaf>,
    pub(super) down: Option<Leaf>,
    pub(super) delay: Option<Leaf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTable {
    pub(super) name: Option<Leaf>,
    pub(super) size: Option<Leaf>,
    pub(super) kind: Option<Leaf>,
    pub(super) path: Option<Leaf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventTable {
    pub(super) at: Leaf,
    pub(super) receiver: Leaf,
    #[serde(rename = "do")]
    pub(super) action: Leaf,
}

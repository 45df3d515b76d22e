//! The argument that names an experiment: completions offer the built-in ones, and any other text
//! is a path.

use std::ffi::OsStr;

use clap::{
    Arg, Command, Error,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};
use sow_lab::scenario::BUILT_IN_NAMES;

/// Reads the name of an experiment or the path of a scenario.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExperimentParser;

impl TypedValueParser for ExperimentParser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    /// The values that completions offer; others are valid, too.
    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(BUILT_IN_NAMES.into_iter().map(PossibleValue::new)))
    }
}

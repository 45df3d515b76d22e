//! Which pictures a report has, and what is in them. How they are drawn is for `chart`, `bars` and
//! `matrix`.

mod crowd;
mod hosts;

use std::collections::BTreeSet;

use super::{
    bars::Bars,
    canvas::{Color, Dash, MARKERS, Medium, SERIES},
    chart::{Chart, Look},
    matrix::Matrix,
    modes::Place,
    summary::{Group, Spread, Summary},
};

/// Letters of a file's or a mode's name in the name of a picture.
const SLUG: usize = 40;

/// A picture with its name and what is said under it.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// The name of its files, without the ending.
    pub(crate) name: String,
    pub(crate) caption: String,
    picture: Picture,
}

#[derive(Debug, Clone)]
enum Picture {
    Chart(Chart),
    Bars(Bars),
    Matrix(Matrix),
}

impl Figure {
    /// The picture as SVG.
    pub(crate) fn svg(&self, medium: Medium) -> String {
        match &self.picture {
            Picture::Chart(chart) => chart.draw(medium),
            Picture::Bars(bars) => bars.draw(medium),
            Picture::Matrix(matrix) => matrix.draw(medium),
        }
    }
}

/// All pictures of a report, those that say most first.
pub(crate) fn all(summary: &Summary<'_>) -> Vec<Figure> {
    let mut figures = Vec::new();
    for file in &summary.files {
        figures.extend(crowd::completion(summary, file));
        figures.extend(crowd::distance(summary, file));
        figures.extend(crowd::origin_upload(summary, file));
        figures.extend(crowd::distribution(summary, file));
    }
    for file in &summary.files {
        let users = summary.users(file).last().copied();
        for group in summary.of_file(file).filter(|group| Some(group.users) == users) {
            figures.extend(hosts::throughput(summary, group));
            figures.extend(hosts::shares(group));
        }
    }
    name_apart(figures.iter_mut().map(|figure| &mut figure.name));
    figures
}

/// What is left of `text` in the name of a file.
pub(crate) fn slug(text: &str) -> String {
    let letters = text.to_lowercase();
    let letters: String = letters
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { ' ' })
        .collect();
    let mut slug = letters.split_whitespace().collect::<Vec<_>>().join("-");
    slug.truncate(SLUG);
    if slug.is_empty() { "unnamed".to_owned() } else { slug.trim_end_matches('-').to_owned() }
}

/// What differs only in what a file name cannot say still gets a file of its own.
pub(crate) fn name_apart<'a>(names: impl IntoIterator<Item = &'a mut String>) {
    let mut taken = BTreeSet::new();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        let wish = name.clone();
        let mut number = 1;
        while !taken.insert(name.clone()) {
            number += 1;
            *name = format!("{wish}-{number}");
        }
    }
}

/// The look of a mode, the same in every picture of every report.
fn look_of(place: Place, solid: bool) -> Look {
    let look = numbered_look(place.number, place.variant);
    if solid { Look { line: Some((1.8, Dash::Solid)), ..look } } else { look }
}

/// No two of the first 36 are alike, in colour or without. A variant has the same colour in another
/// form.
fn numbered_look(number: usize, variant: usize) -> Look {
    let round = number / SERIES;
    let form = number + round + variant;
    Look {
        color: Color::Series(number),
        line: Some((1.8, [Dash::Solid, Dash::Long, Dash::Short, Dash::LongShort][form % 4])),
        marker: Some((MARKERS[form % MARKERS.len()], round % 2 == 1)),
    }
}

/// The look of a line that nothing can pass.
fn bound_look(dash: Dash) -> Look {
    Look { color: Color::Ink, line: Some((1.3, dash)), marker: None }
}

/// A whisker, if repetitions differ.
fn range(spread: Spread) -> Option<(f64, f64)> {
    (spread.count > 1).then_some((spread.least, spread.most))
}

fn repetitions(groups: &[&Group<'_>]) -> String {
    match groups.iter().map(|group| group.complete).max().unwrap_or_default() {
        0 | 1 => "one run each".to_owned(),
        most => format!("medians and ranges of {most} runs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        assert_eq!(slug("nginx+curl, 10 MB (ä)"), "nginx-curl-10-mb");
        assert_eq!(slug("../../x"), "x");
        assert_eq!(slug("…"), "unnamed");
        assert!(slug(&"long ".repeat(50)).len() <= SLUG);
        let mut names = ["a", "", "a", "", "a-2"].map(str::to_owned);
        name_apart(&mut names);
        assert_eq!(names, ["a", "", "a-2", "", "a-2-2"]);
    }

    #[test]
    fn looks_differ() {
        let looks: Vec<Look> = (0..36).map(|number| numbered_look(number, 0)).collect();
        for (place, look) in looks.iter().enumerate() {
            assert!(!looks[..place].contains(look), "{place}");
        }
        for variant in 1..12 {
            assert!(
                (0..variant).all(|other| numbered_look(0, variant) != numbered_look(0, other)),
                "{variant}"
            );
        }
        // Without colour, too, as far as there are forms.
        let forms: Vec<_> = looks.iter().take(6).map(|look| look.marker).collect();
        assert!(forms.iter().enumerate().all(|(place, form)| !forms[..place].contains(form)));
    }
}

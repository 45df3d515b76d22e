//! A figure of a report: a chart, bars or a matrix, with its name and caption. What figures show is
//! decided in `figures`.

use super::{bars::Bars, canvas::Medium, chart::Chart, matrix::Matrix};

/// A picture with its name and caption.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// The name of its files, without the ending.
    pub(crate) name: String,
    pub(crate) caption: String,
    pub(crate) picture: Picture,
}

/// The drawing of a figure.
#[derive(Debug, Clone)]
pub(crate) enum Picture {
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

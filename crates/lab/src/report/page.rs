//! One page of HTML with the whole report: it has no script, loads nothing, and follows the light
//! or dark theme.

use data_encoding::BASE64;

use super::{
    canvas::{Medium, page_variables},
    content::Content,
    escape::escaped,
    experiment_info::ExperimentInfo,
    figure::Figure,
    font,
    table::Table,
};

/// The text of the page: what came out, the main plot, tables, plots, and then how it was measured.
pub(crate) fn page(info: &ExperimentInfo<'_>, content: &Content) -> String {
    let [light, dark] = page_variables(content.series);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n\
         @font-face{{font-family:\"DejaVu Sans\";src:url(data:font/ttf;base64,{font}) \
         format(\"truetype\")}}\n:root{{{light}}}\n\
         @media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{STYLE_SHEET}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n",
        language = escaped(&content.language),
        title = escaped(&info.title()),
        font = BASE64.encode(font::BYTES),
    );
    if !content.lead.is_empty() {
        text += &format!("<p class=\"lead\">{}</p>\n", escaped(&content.lead));
    }
    let main = content.main_figure.and_then(|index| content.figures.get(index));
    text += &main.map(|figure| plot(figure, "plot main")).unwrap_or_default();
    text += "<h2>Results</h2>\n";
    // Tables without a CSV file are as wide as the page.
    let (wide, narrow): (Vec<&Table>, Vec<&Table>) =
        content.results.iter().partition(|table| table.name.is_empty());
    wide.iter().for_each(|table| text += &table.html());
    text += "<div class=\"beside\">\n";
    narrow.iter().for_each(|table| text += &table.html());
    text += "</div>\n";
    text += "<h2>Plots</h2>\n<div class=\"plots\">\n";
    let others = content.figures.iter().enumerate();
    for (_, figure) in others.filter(|(index, _)| Some(*index) != content.main_figure) {
        text += &plot(figure, "plot");
    }
    text += "</div>\n<h2>Network</h2>\n<div class=\"beside\">\n";
    content.network.iter().for_each(|table| text += &table.html());
    text += "</div>\n<h2>Experiment</h2>\n<dl>";
    for (name, value) in info.list() {
        text += &format!("<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(&value));
    }
    text += "</dl>\n";
    for remark in info.remarks() {
        text += &format!("<p class=\"remark\">{}</p>\n", escaped(&remark));
    }
    text += &format!("<h2>Commands</h2>\n<pre>{}</pre>\n", escaped(&info.command()));
    for (title, commands) in info.run_commands() {
        let commands = commands.join("\n");
        text += &format!(
            "<details><summary>{}</summary><pre>{}</pre></details>\n",
            escaped(&title),
            escaped(&commands)
        );
    }
    text + "</main>\n</body>\n</html>\n"
}

/// A figure with its caption.
fn plot(figure: &Figure, class: &str) -> String {
    format!(
        "<figure class=\"{class}\">{}<figcaption>{}</figcaption></figure>\n",
        figure.svg(Medium::Page),
        escaped(&figure.caption)
    )
}

const STYLE_SHEET: &str = "\
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;
overflow-wrap:anywhere}
main{max-width:1440px;margin:0 auto;padding:1.5rem}
h1{font-size:1.7rem;margin:.5rem 0 1rem}
h2{font-size:1.3rem;margin:2.2rem 0 .8rem;border-bottom:1px solid var(--grid);
padding-bottom:.3rem}
h3{font-size:1.05rem;margin:0 0 .5rem}
.lead{font-size:1.1rem;max-width:70rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem;margin:0}
dt{color:var(--muted)}
dd{margin:0;min-width:0}
.remark{border-left:4px solid var(--series-1);padding:.2rem .8rem;margin:.8rem 0}
figure{margin:0 0 1.8rem;min-width:0;max-width:100%}
figcaption{color:var(--muted);font-size:.9rem;margin-top:.4rem;max-width:70rem}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;
overflow-wrap:normal;max-width:100%}
th,td{padding:.22rem .45rem;text-align:left;vertical-align:top;
border-bottom:1px solid var(--grid)}
th{vertical-align:bottom;border-bottom:2px solid var(--muted);font-weight:600}
td:first-child{overflow-wrap:anywhere;min-width:5rem}
.number{text-align:right}
td.number{white-space:nowrap}
.range{display:block;color:var(--muted);font-size:.92em}
tbody tr:hover{background:color-mix(in srgb,var(--grid) 50%,transparent)}
.table{overflow-x:auto}
@media (max-width:72rem){table{font-size:.76rem}th,td{padding:.2rem .3rem}}
.beside{display:flex;flex-wrap:wrap;gap:0 4rem}
.beside figcaption{max-width:36rem}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,520px),1fr));
gap:1rem 2rem}
.plot svg{display:block;width:100%;height:auto}
.main{max-width:46rem}
pre{white-space:pre-wrap;padding:.7rem 1rem;border:1px solid var(--grid);border-radius:4px;
font-size:.88rem}
summary{cursor:pointer}
@media (max-width:40rem){
main{padding:1rem}
dl{grid-template-columns:1fr}
dd{margin-bottom:.4rem}
table{font-size:.86rem}
table,tbody,tr,td{display:block}
thead{display:none}
tr{border-bottom:2px solid var(--grid);padding:.4rem 0}
td,td.number{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.1rem 0;
white-space:normal;text-align:right;overflow-wrap:anywhere}
td:first-child{font-weight:600}
td::before{content:attr(data-head);color:var(--muted);font-weight:400;text-align:left;
overflow-wrap:normal;max-width:60%}
}
@media print{.plot,tr{break-inside:avoid}}
";

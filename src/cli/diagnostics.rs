//! Diagnostics as people read them: what is wrong, the line of the file, a caret, and the remedy.

use std::collections::BTreeMap;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::mapping::{Diagnostic, TestReport};

/// Renders `diagnostics` in their order; `texts` holds the files they point into. Colour only where `is_coloured`.
pub fn render(diagnostics: &[Diagnostic], texts: &BTreeMap<String, String>, is_coloured: bool) -> String {
    let renderer = if is_coloured { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    diagnostics.iter().map(|diagnostic| one(diagnostic, texts.get(&diagnostic.file), &renderer)).collect()
}

/// A test of a mapping file that did not come out as expected.
pub fn failed_test(test: &TestReport) -> String {
    let failures: String = test.failures.iter().map(|failure| format!("    {failure}\n")).collect();
    format!("failed: {}\n --> {}:{}\n{failures}\n", test.name, test.file, test.line)
}

fn one(diagnostic: &Diagnostic, text: Option<&String>, renderer: &Renderer) -> String {
    let level = if diagnostic.is_error { Level::ERROR } else { Level::WARNING };
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code)
        .elements(Vec::<Snippet<'_, annotate_snippets::Annotation<'_>>>::new());
    let span = text.and_then(|text| pointable(text, &diagnostic.span));
    let has_place = span.is_some();
    if let Some((text, span)) = text.zip(span) {
        let annotation = AnnotationKind::Primary.span(span).label(diagnostic.label.as_str());
        group = group.element(Snippet::source(text.as_str()).path(diagnostic.file.as_str()).annotation(annotation));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let rendered = renderer.render(&[group]);
    if has_place {
        return format!("{rendered}\n\n");
    }
    // Without a line to show, the name of the file follows the title.
    let place = if diagnostic.file.is_empty() { String::new() } else { format!(" --> {}\n", diagnostic.file) };
    match rendered.split_once('\n') {
        Some((title, rest)) => format!("{title}\n{place}{rest}\n\n"),
        None => format!("{rendered}\n{place}\n"),
    }
}

/// A range that the renderer can show: inside the text, on character boundaries. `None` where there is nothing to point at.
fn pointable(text: &str, span: &std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
    if span.start == 0 && span.end == 0 {
        return None;
    }
    let start = (0..=span.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at))?;
    let end = (span.end.min(text.len())..=text.len()).find(|at| text.is_char_boundary(*at))?.max(start);
    // One line is enough for a caret; a table's range would underline all of it.
    let line_end = text.get(start..end).and_then(|piece| piece.find('\n')).map_or(end, |newline| start + newline);
    Some(start..line_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(span: std::ops::Range<usize>) -> Diagnostic {
        Diagnostic {
            code: "C002",
            file: "a.toml".into(),
            span,
            line: 1,
            column: 1,
            message: "unknown key `lisen`".into(),
            label: "nothing has this name".into(),
            help: Some("did you mean `listen`?".into()),
            is_error: true,
        }
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let texts = BTreeMap::from([("a.toml".to_owned(), "[admin]\nlisen = 1\n".to_owned())]);
        let text = render(&[diagnostic(8..13)], &texts, false);
        assert_eq!(
            text,
            "error[C002]: unknown key `lisen`\n --> a.toml:2:1\n  |\n2 | lisen = 1\n  | ^^^^^ nothing has this name\n  |\n  = help: did you mean `listen`?\n\n"
        );
    }

    #[test]
    fn without_a_place_the_file_is_named() {
        let text = render(&[diagnostic(0..0)], &BTreeMap::new(), false);
        assert!(text.starts_with("error[C002]: unknown key `lisen`\n --> a.toml\n"), "{text}");
        assert!(text.contains("help: did you mean"), "{text}");
    }

    #[test]
    fn a_place_outside_the_text_or_inside_a_character_is_no_crash() {
        let texts = BTreeMap::from([("a.toml".to_owned(), "é".to_owned())]);
        for span in [1..1, 1..2, 2..2, 5..9, 0..1] {
            assert!(!render(&[diagnostic(span)], &texts, false).is_empty());
        }
    }
}

use dockerfile::{Expand, Kind, Mount, TokenKind, edit, expand, parse, parse_trigger};
use report::{SourceText, Span};

/// Parsing loses no byte, and every place it tells is in the text.
pub(crate) fn dockerfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let source = SourceText { name: "Dockerfile".to_owned(), text: text.as_ref().into() };
    let file = parse(&source);
    assert_eq!(file.syntax.print(), text);
    let mut end = 0;
    for token in file.syntax.tokens() {
        assert_eq!(token.span.start, end);
        assert!(token.span.end > end);
        assert_eq!(file.syntax.at(end), Some(token));
        end = token.span.end;
    }
    assert_eq!(end, text.len());
    let inside = |span: Span| assert!(text.get(span.range()).is_some(), "{span:?}");
    let words = |words: &[dockerfile::Word]| words.iter().for_each(|word| inside(word.span));
    for instruction in file.instructions() {
        inside(instruction.span);
        let keyword = instruction.keyword.span;
        let token = file.syntax.at(keyword.start).map(|token| token.kind);
        assert!(instruction.keyword.text.is_empty() || token == Some(TokenKind::Keyword));
        assert!(instruction.lines.0 <= instruction.lines.1);
        match &instruction.kind {
            Kind::Add(copy) | Kind::Copy(copy) => {
                words(&copy.sources);
                words(std::slice::from_ref(&copy.dest));
                copy.inline.iter().for_each(|file| inside(file.span));
            }
            Kind::Run(run) => {
                words(&run.mounts);
                inside(run.command.span);
            }
            Kind::Env(pairs) | Kind::Label(pairs) => pairs.iter().for_each(|it| inside(it.span)),
            Kind::Arg(arguments) => arguments.iter().for_each(|it| inside(it.span)),
            Kind::Expose(list) | Kind::Volume(list) => words(list),
            Kind::From(from) => words(std::slice::from_ref(&from.base)),
            _ => {}
        }
    }
    for diagnostic in &file.diagnostics {
        inside(diagnostic.span);
        assert!(!diagnostic.to_string().is_empty());
    }
    let edits: Vec<_> = file
        .instructions()
        .filter(|instruction| !instruction.keyword.text.is_empty())
        .map(|instruction| dockerfile::Edit {
            span: instruction.keyword.span,
            text: instruction.keyword.text.to_ascii_uppercase(),
        })
        .collect();
    let changed = edit(&text, &edits).expect("keywords are apart");
    // Only keywords that lie on several lines get shorter.
    assert!(changed.len() <= text.len());
}

/// A trigger is read or refused.
pub(crate) fn trigger(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let span = Span::new(3, 7);
    match parse_trigger(&text, span) {
        Ok(instruction) => assert_eq!(instruction.span, span),
        Err(wrong) => assert!(!wrong.is_empty()),
    }
}

/// The result is bounded, comes out the same again, and nothing is left of plain text.
///
/// The first byte says how, then come pieces separated by zero bytes: the text, and variables.
pub(crate) fn expander(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let rest = String::from_utf8_lossy(rest);
    let mut pieces = rest.split('\0');
    let text = pieces.next().unwrap_or_default();
    let variables: Vec<_> = pieces.filter_map(|piece| piece.split_once('=')).collect();
    let find = |name: &str| variables.iter().rfind(|(known, _)| *known == name);
    let get = |name: &str| find(name).map(|(_, value)| (*value).to_owned());
    let how = Expand {
        escape: if how & 1 == 0 { '\\' } else { '`' },
        raw_quotes: how & 2 != 0,
        raw_escapes: how & 4 != 0,
        ignore_quotes: how & 8 != 0,
        skip_unset: how & 16 != 0,
    };
    let result = expand(text, how, &get);
    assert_eq!(result, expand(text, how, &get));
    match result {
        Ok(expanded) => {
            // Each value may come in once more than the bound that is checked after it.
            let largest = variables.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
            assert!(expanded.text.len() <= 2 * (text.len() + largest) + (2 << 20));
            let count = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            let words: usize = expanded.words.iter().map(|word| count(word)).sum();
            assert_eq!(words, count(&expanded.text));
            assert!(expanded.matched.iter().all(|name| find(name).is_some()));
            assert!(expanded.unmatched.iter().all(|name| find(name).is_none()));
            if !text.contains(['$', '\'', '"', how.escape]) {
                assert_eq!(expanded.text, text);
            }
        }
        Err(error) => assert!(error.to_string().len() < 10_000),
    }
}

/// A mount is read or refused, whatever variables become.
pub(crate) fn mount(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut same = |value: &str| Ok(value.to_owned());
    let mut nothing = |_: &str| Ok(String::new());
    let mut fails = |_: &str| Err("no".to_owned());
    let read = Mount::parse(&text, &mut same);
    if let Err(error) = &read {
        assert!(!error.message.is_empty());
    }
    let _ = Mount::parse(&text, &mut nothing);
    let _ = Mount::parse(&text, &mut fails);
    if let (Ok(mount), Ok(Some(from))) = (read, dockerfile::mounts_from(&text)) {
        assert_eq!(mount.from, from);
    }
}

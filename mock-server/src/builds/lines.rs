//! Dockerfiles as BuildKit's parser reads them, before anything is understood: lines that go on in the next one, comments,
//! here-documents. The grammar's parser then sees one instruction a line, with its here-documents out of its sight, as it
//! knows only those that are all of a `RUN`. How we know: the Dockerfile reference, BuildKit's frontend.

use std::sync::LazyLock;

use regex::Regex;

use super::words;

/// Stands for `<<` in what the grammar's parser sees.
const MARK: char = '\u{f0000}';
/// Stands for an escape character at a line's end that is escaped itself.
const ESCAPE: char = '\u{f0001}';

/// What [`prepare`] makes of a Dockerfile.
pub struct Prepared {
    /// One instruction a line, each on the line on which it began.
    pub text: String,
    /// The instructions, as many as the text has.
    pub lines: Vec<Line>,
    /// Escapes the end of a line.
    pub escape: char,
}

/// One instruction.
pub struct Line {
    /// As it was written.
    pub written: String,
    /// As one line, without its documents.
    pub joined: String,
    pub documents: Vec<Document>,
}

/// A here-document.
pub struct Document {
    pub name: String,
    /// As it was written.
    pub content: String,
    /// `<<-`: tabs at the beginning of its lines are removed.
    chomp: bool,
    /// Variables in it are replaced, where it isn't a shell's.
    pub expand: bool,
}

impl Document {
    /// What a file made of it has.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

impl Line {
    /// As one instruction, its documents behind it.
    pub fn whole(&self) -> String {
        with_documents(&self.joined, &self.documents)
    }
}

/// A command with its documents, as a shell reads them.
pub fn with_documents(command: &str, documents: &[Document]) -> String {
    let mut whole = command.to_owned();
    for document in documents {
        whole += &format!("\n{}{}", document.content, document.name);
    }
    whole
}

/// What was hidden from the grammar's parser, in a text that came from it.
pub fn restored(text: &str, escape: char) -> String {
    text.replace(MARK, "<<").replace(ESCAPE, &escape.to_string())
}

/// Cuts a Dockerfile into its instructions.
///
/// # Errors
/// A here-document that never ends.
pub fn prepare(text: &str) -> Result<Prepared, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut source = Source { lines: text.split_inclusive('\n').collect(), at: 0 };
    let mut prepared = Prepared { text: String::new(), lines: Vec::new(), escape: '\\' };
    while let Some(found) = source.lines.get(source.at).and_then(|line| DIRECTIVE.captures(line)) {
        if found[1].eq_ignore_ascii_case("escape") {
            prepared.escape = found[2].chars().next().unwrap_or('\\');
        }
        prepared.text += source.next().unwrap_or_default();
    }
    while source.at < source.lines.len() {
        let begin = source.at;
        let joined = joined(&mut source, prepared.escape);
        if !joined.is_empty() {
            let documents = documents(&joined, &mut source);
            let documents = documents.map_err(|reason| format!("line {}: {reason}", begin + 1))?;
            prepared.text += &shown(&joined, prepared.escape);
            let written = source.lines[begin..source.at].concat().trim().to_owned();
            prepared.lines.push(Line { written, joined, documents });
        }
        prepared.text += &"\n".repeat(source.at - begin);
    }
    Ok(prepared)
}

struct Source<'a> {
    lines: Vec<&'a str>,
    at: usize,
}

impl<'a> Source<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let next = *self.lines.get(self.at)?;
        self.at += 1;
        Some(next)
    }
}

static DIRECTIVE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\s*#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*?)\s*$").expect("a good pattern"));

/// A line with those that it goes on in; empty if it is a comment, or blank. Comments and blank lines between are skipped.
fn joined(source: &mut Source, escape: char) -> String {
    let first = source.next().unwrap_or_default().trim_start();
    if first.is_empty() || first.starts_with('#') {
        return String::new();
    }
    let (start, mut goes_on) = continued(first, escape);
    let mut joined = start.to_owned();
    while goes_on && let Some(next) = source.next() {
        let bare = next.trim_start();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let (more, on) = continued(next, escape);
        joined += more;
        goes_on = on;
    }
    joined.trim().to_owned()
}

/// A line without its end, and whether it goes on: by an escape character that isn't escaped itself.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let line = line.trim_end_matches(['\r', '\n']);
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(start) if !start.ends_with(escape) => (start, true),
        _ => (line, false),
    }
}

/// The here-documents that an instruction's line begins.
fn documents(line: &str, source: &mut Source) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for mut document in begun(line) {
        loop {
            let next = source.next().ok_or_else(|| format!("unterminated heredoc {}", document.name))?;
            let bare = next.trim_end_matches(['\r', '\n']);
            if document.name == if document.chomp { bare.trim_start_matches('\t') } else { bare } {
                break;
            }
            document.content += next;
        }
        documents.push(document);
    }
    Ok(documents)
}

static ABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?is)^(?:ONBUILD\s+)?(?:RUN|COPY|ADD)\s+(?:--\S+\s+)*(.*)$").expect("a good pattern")
});

fn begun(line: &str) -> Vec<Document> {
    let Some(arguments) = ABLE.captures(line).and_then(|found| found.get(1)) else { return Vec::new() };
    let is_json = serde_json::from_str::<Vec<String>>(arguments.as_str()).is_ok();
    let words = words::split_whole(line).filter(|_| !is_json).unwrap_or_default();
    words.iter().filter_map(|word| document(word)).collect()
}

/// The here-document, still empty, that a text is the beginning of, if it is nothing else.
pub fn document(text: &str) -> Option<Document> {
    static BEGIN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\d*<<(-?)([^<]+)$").expect("a good pattern"));
    let found = BEGIN.captures(text)?;
    let words = words::split_whole(&found[2])?;
    let [quoted] = words.as_slice() else { return None };
    // A name is no place for variables.
    let name = words::word(&quoted.replace('$', "\\$"), &|_| None).ok().filter(|_| *quoted == found[2])?;
    let expand = name == *quoted;
    Some(Document { name, content: String::new(), chomp: &found[1] == "-", expand })
}

/// What the grammar's parser sees of an instruction.
fn shown(line: &str, escape: char) -> String {
    static NONE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?i)^ENTRYPOINT\s+\[\s*\]$").expect("a good pattern"));
    if NONE.is_match(line) {
        // It wants a word; without one it means that there is no entrypoint any more.
        return "ENTRYPOINT [\"\"]".into();
    }
    let line = if ABLE.is_match(line) { line.replace("<<", &MARK.to_string()) } else { line.to_owned() };
    match line.strip_suffix(escape) {
        Some(start) => format!("{start}{ESCAPE}"),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined_lines(text: &str) -> Vec<String> {
        prepare(text).expect(text).lines.into_iter().map(|line| line.joined).collect()
    }

    #[test]
    fn lines_go_on_over_comments_and_blank_lines() {
        let text = "# syntax=x\n\n FROM a\nRUN b \\  \n\n  # why\n\t\\\n  c\n# d \\\nCMD e\\\\\nUSER f \\\n";
        assert_eq!(joined_lines(text), ["FROM a", "RUN b \t  c", "CMD e\\\\", "USER f"]);
        assert_eq!(joined_lines("# escape=`\nRUN a `\n b\\\nCMD c"), ["RUN a  b\\", "CMD c"]);
        // Too late to be a directive.
        assert_eq!(joined_lines("# x\n# escape=`\nRUN a `\n"), ["RUN a `"]);
    }

    #[test]
    fn documents_are_those_of_the_whole_line() {
        let text = "FROM a\nRUN x && \\\n cat <<-A > b && <<'C D' d\n\t1\n\tA\n2\n$x\nC D\nCOPY <<e.txt /f\n\te.txt\ne.txt\nRUN x\n";
        let prepared = prepare(text).expect(text);
        let run = &prepared.lines[1];
        assert_eq!(run.written, "RUN x && \\\n cat <<-A > b && <<'C D' d\n\t1\n\tA\n2\n$x\nC D");
        let found: Vec<_> = run.documents.iter().map(|one| (one.name.as_str(), one.text(), one.expand)).collect();
        assert_eq!(found, [("A", "1\n".into(), true), ("C D", "2\n$x\n".into(), false)]);
        assert_eq!(run.whole(), "RUN x &&  cat <<-A > b && <<'C D' d\n\t1\nA\n2\n$x\nC D");
        assert_eq!(prepared.lines[2].documents[0].text(), "\te.txt\n");
        // Lines keep their numbers.
        assert_eq!(prepared.text.lines().position(|line| line == "RUN x"), Some(11));
    }

    #[test]
    fn what_only_looks_like_a_document_is_none() {
        for text in [
            "RUN cat <<< word",
            "RUN [\"cat\", \"<<EOF\"]",
            "RUN echo '<<EOF'",
            "RUN x << EOF",
            "ENV A=<<B",
            "RUN it's <<E",
        ] {
            let prepared = prepare(text).expect(text);
            assert!(prepared.lines[0].documents.is_empty(), "{text}");
        }
        assert!(prepare("RUN cat <<EOF\nx\n").is_err());
        assert!(document("<<EOF cat").is_none() && document("<<EOF").is_some_and(|one| one.name == "EOF"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_prepared(text in "(RUN|COPY|E|a|<<E| |\n|\t|\\\\|'|#){0,40}") {
            if let Ok(prepared) = prepare(&text) {
                let file = parse_dockerfile::parse(&prepared.text);
                proptest::prop_assert!(file.is_err() || file.is_ok_and(|file| file.instructions.len() == prepared.lines.len()));
            }
        }
    }
}

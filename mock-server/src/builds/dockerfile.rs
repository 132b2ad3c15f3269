//! What `parse-dockerfile` leaves to us: commands as the shell is to see them, here-documents, which stages are needed.

use std::sync::LazyLock;

use parse_dockerfile::{Command, Dockerfile, HereDoc, Instruction, RunInstruction};
use regex::Regex;

/// A command of `RUN`, `CMD` or `ENTRYPOINT`.
pub fn argv(command: &Command, shell: &[String], escape: char) -> Vec<String> {
    match command {
        Command::Exec(words) => {
            let words: Vec<String> = words.value.iter().map(|word| word.value.to_string()).collect();
            // What `prepare` makes of none.
            if words == [""] { Vec::new() } else { words }
        }
        Command::Shell(text) => [shell, &[joined(text.value, escape)]].concat(),
        // Of a later version of the parser.
        _ => Vec::new(),
    }
}

/// The command of a `RUN`, with its here-documents.
pub fn run_argv(run: &RunInstruction, shell: &[String], escape: char) -> Vec<String> {
    if run.here_docs.is_empty() {
        return argv(&run.arguments, shell, escape);
    }
    [shell, &[script(&run.here_docs[0])]].concat()
}

static MARK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(?:^|[^<])<<-?\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?"#).expect("a good pattern"));

/// The parser knows here-documents that are all of a `RUN`. One behind a command, `RUN cat <<EOF > file`, becomes part
/// of a script that is one.
pub fn prepare(text: &str) -> String {
    static RUN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)^(\s*RUN\s+(?:--\S+\s+)*)(.*)$").expect("a good pattern"));
    static NONE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)^\s*ENTRYPOINT\s+\[\s*\]\s*$").expect("a good pattern"));
    let lines: Vec<&str> = text.lines().collect();
    let (mut out, mut n) = (String::new(), 0);
    while n < lines.len() {
        let end = documents_end(&lines, n);
        let run = RUN.captures(lines[n]).filter(|run| end > n && !run[2].starts_with("<<"));
        let body = lines[n + 1..=end].iter().flat_map(|line| [line, "\n"]).collect::<String>();
        match run {
            Some(run) => out += &format!("{}<<'{SCRIPT}'\n{}\n{body}{SCRIPT}\n", &run[1], &run[2]),
            // The parser wants a word; without one it means that there is no entrypoint any more.
            None if NONE.is_match(lines[n]) => out += "ENTRYPOINT [\"\"]\n",
            None => out += &format!("{}\n{body}", lines[n]),
        }
        n = end + 1;
    }
    out
}

/// Ends a script that [`prepare`] made.
const SCRIPT: &str = "DAYTONA_MOCK_COMMAND";

/// The last line of the here-documents that a line begins; the line itself if there are none, or one never ends.
fn documents_end(lines: &[&str], start: usize) -> usize {
    let first = lines[start].trim_start().get(..4).unwrap_or_default().to_uppercase();
    if !["RUN ", "COPY", "ADD "].contains(&first.as_str()) {
        return start;
    }
    let mut end = start;
    for mark in MARK.captures_iter(lines[start]) {
        let found = lines[end + 1..].iter().position(|line| line.trim_start_matches('\t') == &mark[1]);
        match found {
            Some(found) => end += found + 1,
            None => return start,
        }
    }
    end
}

/// A here-document that is the command: its own interpreter runs it, if it names one.
fn script(document: &HereDoc) -> String {
    if !document.value.starts_with("#!") {
        return document.value.to_string();
    }
    const END: &str = "DAYTONA_MOCK_SCRIPT_ENDS_HERE";
    let newline = if document.value.ends_with('\n') { "" } else { "\n" };
    format!(
        "s=/tmp/.build-script-$$\ncat > $s <<'{END}'\n{}{newline}{END}\nchmod 700 $s; $s; c=$?; rm -f $s; exit $c",
        document.value
    )
}

/// Without comment lines, and with continued lines made one.
fn joined(text: &str, escape: char) -> String {
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match line.trim_end().strip_suffix(escape) {
            Some(start) => out.push_str(start),
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out.trim_end().to_owned()
}

/// The text of an instruction that begins at `start`, up to the next one, without comments behind it.
pub fn text_at<'a>(text: &'a str, file: &Dockerfile, start: usize) -> &'a str {
    let next = file.instructions.iter().map(start_of).find(|other| *other > start).unwrap_or(text.len());
    let mut whole = text.get(start..next).unwrap_or_default().trim_end();
    while let Some((before, last)) = whole.rsplit_once('\n')
        && (last.trim().is_empty() || last.trim_start().starts_with('#'))
    {
        whole = before.trim_end();
    }
    whole
}

/// Where an instruction begins in its text.
pub fn start_of(instruction: &Instruction) -> usize {
    use Instruction as I;
    let keyword = match instruction {
        I::Add(it) => &it.add,
        I::Arg(it) => &it.arg,
        I::Cmd(it) => &it.cmd,
        I::Copy(it) => &it.copy,
        I::Entrypoint(it) => &it.entrypoint,
        I::Env(it) => &it.env,
        I::Expose(it) => &it.expose,
        I::From(it) => &it.from,
        I::Healthcheck(it) => &it.healthcheck,
        I::Label(it) => &it.label,
        I::Maintainer(it) => &it.maintainer,
        I::Onbuild(it) => &it.onbuild,
        I::Run(it) => &it.run,
        I::Shell(it) => &it.shell,
        I::Stopsignal(it) => &it.stopsignal,
        I::User(it) => &it.user,
        I::Volume(it) => &it.volume,
        I::Workdir(it) => &it.workdir,
        _ => return 0,
    };
    keyword.span.start
}

/// Which stages, by number, the last one is made of, itself included. `--from` and `FROM` name them by number or name.
pub fn needed(file: &Dockerfile) -> Vec<bool> {
    let stages: Vec<_> = file.stages().collect();
    let number = |name: &str, before: usize| {
        let named = |stage: &parse_dockerfile::Stage| {
            stage.from.as_.as_ref().is_some_and(|(_, own)| own.value.eq_ignore_ascii_case(name))
        };
        let by_name = stages[..before].iter().rposition(named);
        by_name.or_else(|| name.parse().ok().filter(|n| *n < before))
    };
    let mut needed = vec![false; stages.len()];
    let mut todo: Vec<usize> = stages.len().checked_sub(1).into_iter().collect();
    while let Some(n) = todo.pop() {
        if std::mem::replace(&mut needed[n], true) {
            continue;
        }
        todo.extend(number(&stages[n].from.image.value, n));
        for instruction in stages[n].instructions {
            let options = match instruction {
                Instruction::Copy(copy) => copy.options.as_slice(),
                Instruction::Run(run) => run.options.as_slice(),
                _ => continue,
            };
            let values = options.iter().filter_map(|option| option.value.as_ref());
            let words = values.flat_map(|value| value.value.split(','));
            todo.extend(words.filter_map(|word| number(word.strip_prefix("from=").unwrap_or(word), n)));
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(text: &str) -> Vec<String> {
        let text = prepare(text);
        let file = parse_dockerfile::parse(&text).expect(&text);
        let shell = ["sh".to_owned(), "-c".to_owned()];
        let run = |instruction: &Instruction| match instruction {
            Instruction::Run(run) => Some(run_argv(run, &shell, '\\').join("|")),
            _ => None,
        };
        file.instructions.iter().filter_map(run).collect()
    }

    #[test]
    fn commands_reach_the_shell_whole() {
        let text = "FROM x\nRUN a && \\\n  # why\n  b\nRUN [\"c\", \"d e\"]\nRUN <<EOF\nf\ng $H\nEOF\nRUN cat <<E1 > x\nRUN body\nE1\n";
        assert_eq!(runs(text), ["sh|-c|a &&   b", "c|d e", "sh|-c|f\ng $H\n", "sh|-c|cat <<E1 > x\nRUN body\nE1\n"]);
        assert!(runs("FROM x\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n")[0].contains("chmod 700"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_prepared(text in "(RUN|COPY|E|a|<<E| |\n|\t){0,40}") {
            let prepared = prepare(&text);
            proptest::prop_assert!(prepared.len() >= text.trim_end().len());
            let _ = parse_dockerfile::parse(&prepared).map(|file| needed(&file));
        }
    }

    #[test]
    fn stages_that_nobody_needs_are_not_built() {
        let text = "FROM a AS one\nFROM b AS two\nFROM c\nCOPY --from=one /x /x\nRUN --mount=type=bind,from=0,target=/y true\n";
        assert_eq!(needed(&parse_dockerfile::parse(text).expect("parsed")), [true, false, true]);
        let text = "FROM a AS one\nFROM one AS two\nFROM x\nFROM two\n";
        assert_eq!(needed(&parse_dockerfile::parse(text).expect("parsed")), [true, true, false, true]);
    }
}

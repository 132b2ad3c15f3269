//! What `parse-dockerfile` leaves to us: commands as the shell is to see them, which stages are needed.

use parse_dockerfile::{Command, Dockerfile, Instruction, RunInstruction};

use super::{
    lines::{Document, document, restored, with_documents},
    words::{Vars, word},
};

/// A command of `RUN`, `CMD` or `ENTRYPOINT`.
pub fn argv(command: &Command, shell: &[String], escape: char) -> Vec<String> {
    match command {
        Command::Exec(words) => {
            let words: Vec<String> = words.value.iter().map(|word| restored(&word.value, escape)).collect();
            // What `prepare` makes of none.
            if words == [""] { Vec::new() } else { words }
        }
        Command::Shell(text) => [shell, &[restored(text.value.trim_end(), escape)]].concat(),
        // Of a later version of the parser.
        _ => Vec::new(),
    }
}

/// The command of a `RUN` with its here-documents. One that is the whole command is a script (BuildKit); others are the
/// shell's, as they are written.
pub fn run_argv(run: &RunInstruction, documents: &[Document], shell: &[String], escape: char) -> Vec<String> {
    let (Command::Shell(text), Some(first)) = (&run.arguments, documents.first()) else {
        return argv(&run.arguments, shell, escape);
    };
    let command = restored(text.value.trim(), escape);
    let command =
        if document(&command).is_some() { script(&first.text()) } else { with_documents(&command, documents) };
    [shell, &[command]].concat()
}

/// A here-document that is the command: its own interpreter runs it, if it names one.
fn script(text: &str) -> String {
    if !text.starts_with("#!") {
        return text.to_owned();
    }
    const END: &str = "DAYTONA_MOCK_SCRIPT_ENDS_HERE";
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    format!(
        "s=/tmp/.build-script-$$\ncat > $s <<'{END}'\n{text}{newline}{END}\nchmod 700 $s; $s; c=$?; rm -f $s; exit $c"
    )
}

/// Which stages, by number, the last one is made of, itself included. `--from` and `FROM` name them by number or name,
/// which may be made of what is declared before the first `FROM`.
pub fn needed(file: &Dockerfile, vars: Vars) -> Vec<bool> {
    let stages: Vec<_> = file.stages().collect();
    let number = |name: &str, before: usize| {
        let name = word(name, vars).ok()?;
        let named = |stage: &parse_dockerfile::Stage| {
            stage.from.as_.as_ref().is_some_and(|(_, own)| own.value.eq_ignore_ascii_case(&name))
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
        todo.extend(stages[n].instructions.iter().flat_map(sources).filter_map(|name| number(name, n)));
    }
    needed
}

/// What an instruction takes from besides its own stage.
fn sources<'a>(instruction: &'a Instruction) -> Vec<&'a str> {
    let (options, name, key) = match instruction {
        Instruction::Copy(copy) => (copy.options.as_slice(), "from", ""),
        Instruction::Run(run) => (run.options.as_slice(), "mount", "from="),
        _ => return Vec::new(),
    };
    let values = options.iter().filter(|option| option.name.value == name).filter_map(|option| option.value.as_ref());
    values.flat_map(|value| value.value.split(',')).filter_map(|word| word.strip_prefix(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::lines::{Line, prepare},
        *,
    };

    fn runs(text: &str) -> Vec<String> {
        let prepared = prepare(text).expect(text);
        let file = parse_dockerfile::parse(&prepared.text).expect(text);
        let shell = ["sh".to_owned(), "-c".to_owned()];
        let run = |(instruction, line): (&Instruction, &Line)| match instruction {
            Instruction::Run(run) => Some(run_argv(run, &line.documents, &shell, prepared.escape).join("|")),
            _ => None,
        };
        file.instructions.iter().zip(&prepared.lines).filter_map(run).collect()
    }

    fn needs(text: &str) -> Vec<bool> {
        needed(&parse_dockerfile::parse(text).expect("parsed"), &|name| (name == "N").then(|| "one".to_owned()))
    }

    #[test]
    fn commands_reach_the_shell_whole() {
        let text = "FROM x\nRUN a && \\\n  # why\n  b\nRUN [\"c\", \"d e\"]\nRUN <<EOF\nf\ng $H\nEOF\nRUN cat <<E1 > x\nRUN body\nE1\n";
        assert_eq!(runs(text), ["sh|-c|a &&   b", "c|d e", "sh|-c|f\ng $H\n", "sh|-c|cat <<E1 > x\nRUN body\nE1"]);
        assert!(runs("FROM x\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n")[0].contains("chmod 700"));
    }

    #[test]
    fn documents_are_the_shell_s_unless_they_are_all() {
        let text = "FROM x\nRUN a && \\\n cat <<E > x\nb\nE\nRUN <<E cat > x\nc\nE\nRUN <<A cat && <<B cat\nd\nA\ne\nB\nRUN --network=none <<-E\n\tf\n\tE\n";
        let expected = [
            "sh|-c|a &&  cat <<E > x\nb\nE",
            "sh|-c|<<E cat > x\nc\nE",
            "sh|-c|<<A cat && <<B cat\nd\nA\ne\nB",
            "sh|-c|f\n",
        ];
        assert_eq!(runs(text), expected);
        assert_eq!(runs("FROM x\nRUN echo \\\\\nRUN [\"<<\", \"a\"]\n"), ["sh|-c|echo \\\\", "<<|a"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_looked_through(text in "(RUN|COPY|E|a|FROM |<<E|--from=| |\n|\t){0,40}") {
            let prepared = prepare(&text).map(|prepared| prepared.text).unwrap_or_default();
            let _ = parse_dockerfile::parse(&prepared).map(|file| needed(&file, &|_| None));
        }
    }

    #[test]
    fn stages_that_nobody_needs_are_not_built() {
        let text = "FROM a AS one\nFROM b AS two\nFROM c\nCOPY --from=one /x /x\nRUN --mount=type=bind,from=0,target=/y true\n";
        assert_eq!(needs(text), [true, false, true]);
        let text = "FROM a AS one\nFROM one AS two\nFROM x\nFROM two\n";
        assert_eq!(needs(text), [true, true, false, true]);
        assert_eq!(
            needs("ARG N=one\nFROM a AS one\nFROM b AS two\nFROM $N\nCOPY --chown=1 /x /x\n"),
            [true, false, true]
        );
    }
}

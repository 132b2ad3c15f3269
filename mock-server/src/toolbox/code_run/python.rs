//! Python code, with charts when it plots.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::Program;

/// Describes shown figures; ends with the definition of `__dtn_run`.
const CHARTS: &str = include_str!("charts.py");

/// Unbuffered, reading the code on stdin: `sys.argv[0]` is `-` and tracebacks say `<stdin>` (observed).
pub fn program(code: String) -> Program {
    let stdin = match plots(&code) {
        true => format!("{CHARTS}__dtn_run('{}')\n", BASE64_STANDARD.encode(code)),
        false => code,
    };
    Program { names: &["python3", "python"], flags: &["-u", "-"], stdin }
}

/// Whether the code imports matplotlib, itself or by something that plots with it.
fn plots(code: &str) -> bool {
    code.lines().flat_map(|line| line.split(';')).map(str::trim_start).any(|statement| {
        let import = statement.strip_prefix("import ").or_else(|| statement.strip_prefix("from "));
        import.is_some_and(|rest| ["matplotlib", "pylab", "seaborn"].iter().any(|module| rest.contains(module)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_that_plots_is_wrapped() {
        assert!(plots("import os\n  from matplotlib import pyplot as plt"));
        assert!(plots("import numpy; import matplotlib.pyplot as plt"));
        assert!(!plots("# import matplotlib\nx = 'import matplotlib'"));
        assert_eq!(program("print(1)".into()).stdin, "print(1)");
    }
}

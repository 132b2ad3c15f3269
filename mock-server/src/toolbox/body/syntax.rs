//! What Go's scanner says of text that isn't JSON. Only ever run on text that failed to parse.

/// Where a text stops being JSON, in Go's words; `None` when this scanner finds nothing wrong.
pub fn complaint(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.value(0).err().map(|fault| match fault {
        Fault::Eof => "unexpected EOF".into(),
        Fault::Depth => "exceeded max depth".into(),
        Fault::Character(at, context) => {
            format!("invalid character {} {context}", quote(&text[at..]))
        }
    })
}

/// serde_json's own limit is 128; nothing deeper reaches this scanner's recursion.
const MAX_DEPTH: usize = 128;

enum Fault {
    Eof,
    Depth,
    Character(usize, String),
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Result<u8, Fault> {
        self.text.get(self.at).copied().ok_or(Fault::Eof)
    }

    fn refuse<T>(&self, context: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::Character(self.at, context.into()))
    }

    fn blank(&mut self) -> Result<u8, Fault> {
        while matches!(self.peek()?, b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
        self.peek()
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::Depth);
        }
        match self.blank()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.refuse("looking for beginning of value"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Fault> {
        self.at += 1;
        if self.blank()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.blank()? != b'"' {
                return self.refuse("looking for beginning of object key string");
            }
            self.string()?;
            if self.blank()? != b':' {
                return self.refuse("after object key");
            }
            self.at += 1;
            self.value(depth + 1)?;
            let next = self.blank()?;
            match next {
                b',' => self.at += 1,
                b'}' => return self.step(),
                _ => return self.refuse("after object key:value pair"),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        self.at += 1;
        if self.blank()? == b']' {
            return self.step();
        }
        loop {
            self.value(depth + 1)?;
            match self.blank()? {
                b',' => self.at += 1,
                b']' => return self.step(),
                _ => return self.refuse("after array element"),
            }
        }
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), Fault> {
        for expected in word.bytes() {
            if self.peek()? != expected {
                return self.refuse(format!("in literal {word} (expecting '{}')", expected as char));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => return self.step(),
                b'\\' => self.escape()?,
                0..0x20 => return self.refuse("in string literal"),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek()? {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.step(),
            b'u' => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.peek()?.is_ascii_hexdigit() {
                        return self.refuse("in \\u hexadecimal character escape");
                    }
                }
                self.step()
            }
            _ => self.refuse("in string escape code"),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek().is_ok_and(|byte| byte == b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if self.peek().is_ok_and(|byte| matches!(byte, b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Result<(), Fault> {
        if !self.peek()?.is_ascii_digit() {
            return self.refuse(context);
        }
        while self.peek().is_ok_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }
}

/// Go quotes the single byte as a character of Latin-1.
fn quote(text: &[u8]) -> String {
    match text.first() {
        Some(b'\'') => r"'\''".into(),
        Some(b'"') => r#"'"'"#.into(),
        Some(b'\n') => r"'\n'".into(),
        Some(b'\r') => r"'\r'".into(),
        Some(b'\t') => r"'\t'".into(),
        Some(b'\\') => r"'\\'".into(),
        Some(byte @ (0..0x20 | 0x7f)) => format!("'\\x{byte:02x}'"),
        Some(byte) => format!("'{}'", char::from(*byte)),
        None => "EOF".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn words_of_go() {
        let cases = [
            ("not json", "invalid character 'o' in literal null (expecting 'u')"),
            ("xyz", "invalid character 'x' looking for beginning of value"),
            ("{x", "invalid character 'x' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("[1.x]", "invalid character 'x' after decimal point in numeric literal"),
            ("{\"a\":", "unexpected EOF"),
        ];
        for (text, words) in cases {
            assert_eq!(complaint(text.as_bytes()).as_deref(), Some(words), "{text}");
        }
        assert_eq!(complaint(b"{\"a\":[1,null,\"x\"]}"), None);
    }
}

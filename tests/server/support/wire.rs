//! HTTP/1.1 as it stands on the wire: heads and bodies, for both ends.

use std::io::{self, BufRead, Write};

/// The first line and the headers of a message. Names are in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head; `None` if the other end closed instead.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let first = line(from)?;
        if first.is_empty() {
            return Ok(None);
        }
        let mut headers = Vec::new();
        loop {
            let line = line(from)?;
            match line.split_once(':') {
                Some((name, value)) => {
                    let value = value.trim_matches([' ', '\t']);
                    headers.push((name.to_ascii_lowercase(), value.to_owned()));
                }
                None => return Ok(Some(Self { first, headers })),
            }
        }
    }

    /// The first value of a header.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The number of values of a header.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(n, _)| n == name).count()
    }

    /// The word of the first line at this place.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.first.split(' ').nth(index).unwrap_or_default()
    }

    fn is_chunked(&self) -> bool {
        self.get("transfer-encoding") == Some("chunked")
    }

    fn length(&self) -> Option<u64> {
        self.get("content-length")?.parse().ok()
    }

    /// Gives the parts of the body to `take` as they come. `until_close` says
    /// what a body is that names no length.
    pub(crate) fn read_body(
        &self,
        from: &mut impl BufRead,
        until_close: bool,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.is_chunked() {
            while let Some(chunk) = read_chunk(from)? {
                take(&chunk)?;
            }
            return Ok(());
        }
        let mut left = match self.length() {
            Some(length) => length,
            None if until_close => u64::MAX,
            None => 0,
        };
        let mut buffer = vec![0; 256 * 1024];
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |n| n.min(buffer.len()));
            let read = from.read(&mut buffer[..most])?;
            if read == 0 && !until_close {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if read == 0 {
                break;
            }
            take(&buffer[..read])?;
            left -= read as u64;
        }
        Ok(())
    }
}

/// Reads a line without its end; an empty one at the end of the stream.
fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    // A character for each byte, whatever it means.
    let line: String = line.into_iter().map(char::from).collect();
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads a chunk of a body; `None` for the last one, which is empty.
pub(crate) fn read_chunk(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let size = line(from)?;
    let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
    let mut chunk = vec![0; size];
    from.read_exact(&mut chunk)?;
    line(from)?;
    Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
}

/// Writes a chunk of a body; an empty one ends it.
pub(crate) fn write_chunk(to: &mut impl Write, chunk: &[u8]) -> io::Result<()> {
    to.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
    to.write_all(chunk)?;
    to.write_all(b"\r\n")?;
    to.flush()
}

//! Any text as a policy: the fuzzer's saved corpus, and changes of it.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod property;

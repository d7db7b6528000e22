//! The token engine from outside: the oracle, the attacks, the refusals.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod containment;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod support;

//! The token engine from outside: the oracle, the attacks, the refusals.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod containment;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod encoding;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod forge;
#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod grammar;
#[cfg(test)]
#[path = "../hostile/corpus.rs"]
#[expect(dead_code, reason = "their refusal is asked by the other test")]
mod hostile;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod layer;
#[cfg(test)]
mod live;
#[cfg(test)]
mod malleability;
#[cfg(test)]
mod mutated;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod precedence;
#[cfg(test)]
mod prefix;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod support;
#[cfg(test)]
mod traps;
#[cfg(test)]
mod vectors;

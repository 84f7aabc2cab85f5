// Package repo holds tests that police the repository: which package may import
// which, what go.mod may require, that every package says what it is for, that the
// tests which documents name exist, and that the build is reproducible. There is
// nothing in it to import.
package repo

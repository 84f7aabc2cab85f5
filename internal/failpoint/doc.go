// Package failpoint lets tests kill a worker between two steps of what it does. Only a
// binary that is built with the tag failpoint does so, when the environment variable
// [Variable] names the step; in any other a failpoint is nothing, and its name is not in
// the binary.
package failpoint

// Variable is the environment variable with the name of a failpoint.
const Variable = "JOBWORKER_FAILPOINT"

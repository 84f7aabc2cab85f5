// Package stream is the output log of a job: its format, its writer, its readers and those who follow it.
package stream

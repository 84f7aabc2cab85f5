// Package stream is the output log of a job: its format, its writer, its readers and those who follow it.
//
// The log on disk is the wire format: an append-only file of JSON lines, encoded once by the process that reads the
// job's pipes, and served to every client as bytes. Package nsinit writes it with a Writer, the daemon reads it with
// Readers and a Watcher, a client reads what it is sent with Decode.
//
// # Format
//
//	{"type":"start","v":1,"job":"7k3q…","time":"2026-11-21T20:33:28.290000000Z","argv":["make","test"]}
//	{"type":"output","stream":"stdout","offset":0,"time":"…","text":"ok  \tpkg/a\n"}
//	{"type":"output","stream":"stderr","offset":11,"time":"…","data":"//4K"}
//	{"type":"gap","offset":14,"bytes":4096,"reason":"no_space"}
//	{"type":"exit","offset":4110,"time":"…","reason":"exited","code":2,"usage":{…}}
//
// and, sent but never stored,
//
//	{"type":"ping"}
//	{"type":"end","next":4110,"reason":"complete"}
//
// A line is a frame. Its fields have this order and no white space between them, times are UTC with nine digits:
// readers find type, stream, offset and time by their place in the line, without decoding it. testdata/frames.jsonl
// pins it.
//
// An output frame is what one read returned, up to MaxFrame bytes, not a line of text. It has exactly one of text,
// for valid UTF-8, and data, base64 for anything else: encoding/json would replace other bytes without a word.
// Concatenated, the payloads are the job's bytes.
//
// # Offsets
//
// The offset of a frame counts the bytes of output before it, of both sources. It never changes, so a stream cut at
// any byte resumes there. A reader for one source counts both.
//
// # Missing bytes
//
// Nothing is missing without a gap frame. The Writer makes one after writes that failed, and for what its Cap did not
// admit. Frames hold no NUL byte, so a run of NULs, from a power cut or where a Cap keeps the newest and the oldest was
// punched out, is no frame; a Reader sends a gap frame in its place, computed from the offsets around it.
//
// # Growing files
//
// A log is read while it is written, so its end is half a line at any time: readers take whole lines only and keep
// no half one, as the Writer may cut it off again. No index is needed to find an offset or a time: lines are in rising
// order, and a binary search by probing (seek, skip to the next newline, read its header; SEEK_DATA passes holes) finds
// them. A line that is neither a frame nor damaged by NULs is an error that names its position in the file.
//
// Frames and Writers work everywhere, Readers and Watchers on Linux.
package stream

package cgroupv2

// Usage is what a job has used so far. A nil field is a number that this kernel, or
// this tree without the controller, does not offer; it never stands for a read error.
//
// OOMKills is as the kernel counts: more than the processes that were killed, because with
// memory.oom.group the one chosen first is counted again with its group (mm/oom_kill.c).
type Usage struct {
	CPUSeconds       float64   `json:"cpu_seconds"`                 // of the whole job
	CPUUserSeconds   float64   `json:"cpu_user_seconds"`            // the part in user mode
	CPUSystemSeconds float64   `json:"cpu_system_seconds"`          // the part in the kernel
	ThrottledSeconds *float64  `json:"throttled_seconds,omitempty"` // waited because of cpu.max, summed over CPUs
	MemoryBytes      *int64    `json:"memory_bytes,omitempty"`      // of the payload, now, page cache included
	MemoryPeakBytes  *int64    `json:"memory_peak_bytes,omitempty"` // highest so far (Linux 5.19)
	OOMKills         *int64    `json:"oom_kills,omitempty"`         // processes killed for want of memory
	Pids             *int64    `json:"pids,omitempty"`              // processes and threads of the payload, now
	PidsDenied       *int64    `json:"pids_denied,omitempty"`       // forks refused by pids.max
	IO               *IOUsage  `json:"io,omitempty"`
	Pressure         *Pressure `json:"pressure,omitempty"`
}

// IOUsage is input and output on block devices, summed over those the kernel lists
// for the job. What goes through a device mapper is counted on each layer.
type IOUsage struct {
	ReadBytes  int64 `json:"read_bytes"`
	WriteBytes int64 `json:"write_bytes"`
	ReadOps    int64 `json:"read_ops"`
	WriteOps   int64 `json:"write_ops"`
}

// Pressure tells how long the job waited for a resource. A nil resource is not offered.
type Pressure struct {
	CPU    *Stall `json:"cpu,omitempty"`
	Memory *Stall `json:"memory,omitempty"`
	IO     *Stall `json:"io,omitempty"`
}

// Stall is the "some" line of a pressure file: the time in which at least one task of
// the job waited.
type Stall struct {
	Avg10        float64 `json:"avg10"`         // percent of the last 10 seconds
	TotalSeconds float64 `json:"total_seconds"` // since the job began
}

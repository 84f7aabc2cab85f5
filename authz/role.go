package authz

// Action is something a client asks for. The table below says which role may do it.
type Action string

// The actions. Those on one job have an object, and the job's owner matters.
const (
	JobStart        Action = "job.start"        // start a job, calculates among them
	JobList         Action = "job.list"         // list the jobs one sees
	JobRead         Action = "job.read"         // see that a job is there, and its status
	JobOutput       Action = "job.output"       // read a job's output
	JobStats        Action = "job.stats"        // read a job's usage
	JobStop         Action = "job.stop"         // stop a job
	JobSignal       Action = "job.signal"       // send a job a signal
	JobStdin        Action = "job.stdin"        // write to a job's standard input
	JobRemove       Action = "job.remove"       // forget an ended job and its output
	EventsRead      Action = "events.read"      // follow the life of the jobs one sees, and of the worker
	WorkerRead      Action = "worker.read"      // see the state of the worker
	WorkerPing      Action = "worker.ping"      // ask the worker for its time
	WorkerStart     Action = "worker.start"     // have the worker take jobs
	WorkerStop      Action = "worker.stop"      // have the worker take none
	WorkerTerminate Action = "worker.terminate" // have the worker end, and all jobs with it
)

// Role is a set of rights.
type Role string

// The roles.
const (
	Admin    Role = "admin"
	Operator Role = "operator"
	Viewer   Role = "viewer"
)

// Scope is on whose jobs an action may be done.
type Scope string

// The scopes, from nothing to everything.
const (
	None Scope = "none" // not at all
	Own  Scope = "own"  // on one's own jobs, or on what is nobody's
	All  Scope = "all"  // on everybody's
)

func wider(a, b Scope) bool { return a == All && b != All || a == Own && b == None }

// right is what one action needs.
type right struct {
	object                  bool // the action is done to one job
	admin, operator, viewer Scope
}

// rights is who may do what. What is not in it nobody may do.
var rights = map[Action]right{
	//               object  admin operator viewer
	JobStart:        {false, All, Own, None},
	JobList:         {false, All, Own, All},
	JobRead:         {true, All, Own, All},
	JobOutput:       {true, All, Own, All},
	JobStats:        {true, All, Own, All},
	JobStop:         {true, All, Own, None},
	JobSignal:       {true, All, Own, None},
	JobStdin:        {true, All, Own, None},
	JobRemove:       {true, All, Own, None},
	EventsRead:      {false, All, Own, All},
	WorkerRead:      {false, All, All, All},
	WorkerPing:      {false, All, All, None},
	WorkerStart:     {false, All, None, None},
	WorkerStop:      {false, All, None, None},
	WorkerTerminate: {false, All, None, None},
}

// roles returns all roles, the widest first.
func roles() []Role { return []Role{Admin, Operator, Viewer} }

func (g right) scope(r Role) Scope {
	switch r {
	case Admin:
		return g.admin
	case Operator:
		return g.operator
	case Viewer:
		return g.viewer
	}
	return None
}

// widest returns the widest scope that held roles give, and the first role that gives it.
func (g right) widest(held []Role) (s Scope, by Role) {
	s = None
	for _, r := range held {
		if got := g.scope(r); wider(got, s) {
			s, by = got, r
		}
	}
	return s, by
}

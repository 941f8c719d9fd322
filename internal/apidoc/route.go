package apidoc

// Doc is what the reference (docs/api.md) says of a route.
type Doc struct {
	Path   string // as http.ServeMux takes it
	Query  string // parameters, with units; "": none
	Answer string // what comes, with units
	Errors string // statuses of failures, and when; "": none but those of every route
	Who    string // may ask; "": whoever reaches the address
	// Type has the type of the answer, or of a list's entries, where that is JSON that does
	// not change with the page; nil: it is told of elsewhere, or needs no more words.
	Type any
}

// Route is a route that is served.
type Route struct {
	Method  string
	Limited bool // refused with 429 and 503 where too much is asked for
	Doc
}

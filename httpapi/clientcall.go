package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"jobworker/job"
)

// do sends req and decodes the answer into out, nil for none, if its status is
// one of the given.
func (c *Client) do(req *http.Request, out any, statuses ...int) error {
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	want := mediaJSON
	if out == nil {
		want = ""
	}
	if err := checkResponse(resp, want, statuses...); err != nil || out == nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answerError(resp, cutOff(err))
	}
	if len(b) > maxAnswer {
		return answerError(resp, fmt.Errorf("is longer than %d bytes", maxAnswer))
	}
	if err := json.Unmarshal(b, out); err != nil {
		return answerError(resp, err)
	}
	return nil
}

// checkResponse returns the *Problem that resp carries, or an error if resp is
// not of one of the statuses with the media type media.
func checkResponse(resp *http.Response, media string, statuses ...int) error {
	got := mediaType(resp.Header)
	if got == mediaProblem {
		return readProblem(resp)
	}
	for _, s := range statuses {
		if resp.StatusCode == s && got == media {
			return nil
		}
	}
	return answerError(resp, fmt.Errorf("status %s with content type %q: not a worker's answer", resp.Status, resp.Header.Get("Content-Type")))
}

func readProblem(resp *http.Response) error {
	p := new(Problem)
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answerError(resp, cutOff(err))
	}
	err = json.Unmarshal(b, p)
	if err == nil && (p.Type == "" || p.Status != resp.StatusCode) {
		err = errors.New("problem without its type or status")
	}
	if err != nil {
		return answerError(resp, fmt.Errorf("status %s: %w", resp.Status, err))
	}
	return p
}

// cutOff is the error for an answer or a stream whose connection broke with err.
func cutOff(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("cut off: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("cut off: %w: %w", io.ErrUnexpectedEOF, err)
}

func answerError(resp *http.Response, err error) error {
	return fmt.Errorf("%s %s: answer: %w", resp.Request.Method, resp.Request.URL.Redacted(), err)
}

func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return h.Get("Content-Type")
	}
	return t
}

func (c *Client) get(ctx context.Context, path string, q url.Values) (*http.Request, error) {
	return c.request(ctx, http.MethodGet, path, q, nil)
}

func (c *Client) post(ctx context.Context, path string, q url.Values, body any) (*http.Request, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := c.request(ctx, http.MethodPost, path, q, bytes.NewReader(b))
	if err == nil {
		req.Header.Set("Content-Type", mediaJSON)
	}
	return req, err
}

func (c *Client) request(ctx context.Context, method, path string, q url.Values, body io.Reader) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, method, c.base+path+queryString(q), body)
}

func queryString(q url.Values) string {
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// jobPath is the path of a job. An id that has not the form of one becomes a
// segment that names no job either, so that "..", which a server would clean
// away, ends in the same 404.
func jobPath(id, rest string) string {
	if _, ok := job.ParseID(id); !ok {
		id = "-" + url.PathEscape(id)
	}
	return "/v1/jobs/" + id + rest
}

func setKey(req *http.Request, key string) {
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
}

func setString(q url.Values, name, v string) {
	if v != "" {
		q.Set(name, v)
	}
}

func setInt(q url.Values, name string, v int64) {
	if v != 0 {
		q.Set(name, strconv.FormatInt(v, 10))
	}
}

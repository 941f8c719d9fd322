package seldom_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lode/seldom"
)

func TestRepeatedWarningsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(seldom.Handler(slog.NewTextHandler(&out, nil)))
		lines := func() string {
			defer out.Reset()
			return out.String()
		}
		for i := range 2000 {
			log.With("a", i).WithGroup("g").Warn("garbage", "i", i)
		}
		log.Warn("something else")
		if text := lines(); strings.Count(text, "garbage") != 10 || strings.Count(text, "something else") != 1 {
			t.Errorf("%s", text)
		}
		for range 2000 {
			log.Info("a task")
		}
		if text := lines(); strings.Count(text, "\n") != 2000 {
			t.Errorf("%d lines at level info, want all 2000", strings.Count(text, "\n"))
		}
		time.Sleep(time.Minute)
		log.Error("garbage")
		if text := lines(); !strings.Contains(text, "left_out_before=1990") {
			t.Errorf("%s", text)
		}
		log.Error("garbage")
		if text := lines(); text == "" || strings.Contains(text, "left_out_before") {
			t.Errorf("%s", text)
		}
	})
}

// Picture takes a picture of a page after it has been open for a while, so that its small curves are drawn:
// the picture of README (deploy/picture.sh). It needs Chromium.
//
//	go run ./deploy/picture -wait 2m -out page.png http://127.0.0.1:8650/
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/chromedp/chromedp"
)

func main() {
	wait := flag.Duration("wait", 90*time.Second, "time for which the page is open")
	out := flag.String("out", "page.png", "file to write")
	width := flag.Int("width", 1440, "width of the window, px")
	height := flag.Int("height", 860, "height of the window, px")
	flag.Parse()
	if err := take(flag.Arg(0), *out, *width, *height, *wait); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func take(url, out string, width, height int, wait time.Duration) error {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(width, height),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	ctx, cancel := chromedp.NewContext(ctx)
	defer cancel()
	var png []byte
	if err := chromedp.Run(ctx, chromedp.EmulateViewport(int64(width), int64(height)), chromedp.Navigate(url), chromedp.Sleep(wait), chromedp.CaptureScreenshot(&png)); err != nil {
		return err
	}
	return os.WriteFile(out, png, 0o644)
}

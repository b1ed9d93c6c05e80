// Says which alerts fire, with Prometheus' own parser and engine.
//
// In: the path of a file of rules, and on stdin a `load 1m` command of promqltest. Out: on stdout a line of JSON for
// each alert that fires after the given number of minutes, with its labels, in the order of the rules. Faults of the
// rules, templates included, end it with exit 1.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

type firing struct {
	Alert  string            `json:"alert"`
	Labels map[string]string `json:"labels"`
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(path, minutes string) error {
	end, err := strconv.Atoi(minutes)
	if err != nil {
		return err
	}
	groups, errs := rulefmt.ParseFile(path, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.Default())
	if len(errs) > 0 {
		return fmt.Errorf("%v", errs)
	}
	series, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	loader, err := promqltest.NewLazyLoader(string(series), promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		return err
	}
	defer loader.Close()
	loader.WithSamplesTill(time.Unix(int64(end)*60, 0), func(failed error) { err = failed })
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			found, err := fired(loader, rule, end)
			if err != nil {
				return err
			}
			for _, labels := range found {
				if err := out.Encode(firing{rule.Alert, labels}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// fired returns the label sets for which the rule's expression has held each minute for as long as the rule asks.
func fired(loader *promqltest.LazyLoader, rule rulefmt.Rule, end int) ([]map[string]string, error) {
	since := map[string]int{}
	var last promql.Vector
	for minute := 0; minute <= end; minute++ {
		var err error
		if last, err = evaluate(loader, rule.Expr, minute); err != nil {
			return nil, err
		}
		still := map[string]int{}
		for _, sample := range last {
			key := sample.Metric.String()
			still[key] = minute
			if begin, ok := since[key]; ok {
				still[key] = begin
			}
		}
		since = still
	}
	var found []map[string]string
	for _, sample := range last {
		held := time.Duration(end-since[sample.Metric.String()]) * time.Minute
		if held >= time.Duration(rule.For) {
			found = append(found, sample.Metric.Map())
		}
	}
	return found, nil
}

func evaluate(loader *promqltest.LazyLoader, expression string, minute int) (promql.Vector, error) {
	query, err := loader.QueryEngine().NewInstantQuery(
		loader.Context(), loader.Queryable(), nil, expression, time.Unix(int64(minute)*60, 0))
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result, err := query.Exec(loader.Context()).Vector()
	return append(promql.Vector{}, result...), err
}

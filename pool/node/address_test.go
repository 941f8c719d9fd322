package node

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcutil/base58"
	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/btcsuite/btcd/chaincfg"
)

// TestCashAddresses has the vectors of the specification of cashaddr: each is the same
// output as an address of the older form.
func TestCashAddresses(t *testing.T) {
	bch := networkOf(Networks()[0].Genesis, "node /Bitcoin Cash Node:27.1.0(EB32.0)/")
	if bch.Name != "bitcoincash" {
		t.Fatalf("the node is taken to be on %s", bch.Name)
	}
	for cash, old := range map[string]string{
		"bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a": "1BpEi6DfDAUFd7GtittLSdBeYJvcoaVggu",
		"bitcoincash:qr95sy3j9xwd2ap32xkykttr4cvcu7as4y0qverfuy": "1KXrWXciRDZUpQwQmuM1DbwsKDLYAYsVLR",
		"bitcoincash:qqq3728yw0y47sqn6l2na30mcw6zm78dzqre909m2r": "16w1D5WRVKJuZUsSRzdLp9w3YGcgoxDXb",
		"bitcoincash:ppm2qsznhks23z7629mms6s4cwef74vcwvn0h829pq": "3CWFddi6m4ndiGyKqzYvsFYagqDLPVMTzC",
		"bitcoincash:pr95sy3j9xwd2ap32xkykttr4cvcu7as4yc93ky28e": "3LDsS579y7sruadqu11beEJoTjdFiFCdX4",
		"bitcoincash:pqq3728yw0y47sqn6l2na30mcw6zm78dzq5ucqzc37": "31nwvkZwyPdgzjBJZXfDmSWsC4ZLKpYyUw",
	} {
		want, err := bch.PayoutScript(old)
		if err != nil {
			t.Fatal(err)
		}
		_, short, _ := strings.Cut(cash, ":")
		for _, form := range []string{cash, short, strings.ToUpper(cash)} {
			if got, err := bch.PayoutScript(form); err != nil || string(got) != string(want) {
				t.Errorf("%s: %x %v, want %x", form, got, err, want)
			}
		}
		// One character mistyped, anywhere, is noticed.
		for i := range short {
			wrong := []byte(short)
			if wrong[i] = 'q'; short[i] == 'q' {
				wrong[i] = 'p'
			}
			if _, err := bch.PayoutScript("bitcoincash:" + string(wrong)); err == nil {
				t.Errorf("%s was taken", wrong)
			}
		}
		if _, err := networkOf(bch.Genesis, "/Satoshi:28.0.0/").PayoutScript(cash); err == nil || !strings.Contains(err.Error(), "is for bitcoincash") {
			t.Errorf("on Bitcoin: %v", err)
		}
		if err := CheckAddress(cash); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"bitcoincash:", "bitcoincash:qqqqqqqq", "bchtest:qpm2qsznhks23z7629mms6s4cwef74vcwvqcw003ap", "bitcoincash:Qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a", "bitcoincash:qpm2bio", strings.Repeat("q", 500)} {
		if _, err := bch.PayoutScript(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCousins(t *testing.T) {
	hash := strings.Repeat("\x07", 20)
	program, err := bech32.ConvertBits([]byte(hash), 8, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	segwit := func(prefix string, version byte, encode func(string, []byte) (string, error)) string {
		text, err := encode(prefix, append([]byte{version}, program...))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	mainnet := Networks()[0].Genesis
	namecoin := networkOf("000000000062b72c5e2ceb45fbc8587e807c155b0da735e6483dfba2f0a9c770", "/Satoshi:27.0.0/")
	unknown := networkOf(strings.Repeat("12", 32), "/Satoshi:27.0.0/")
	for name, c := range map[string]struct {
		network Network
		address string
		want    string // "!": an error with this
	}{
		"namecoin, key":             {namecoin, base58.CheckEncode([]byte(hash), 52), "76a914" + hex.EncodeToString([]byte(hash)) + "88ac"},
		"namecoin, script":          {namecoin, base58.CheckEncode([]byte(hash), 13), "a914" + hex.EncodeToString([]byte(hash)) + "87"},
		"namecoin, segwit":          {namecoin, segwit("nc", 0, bech32.Encode), "0014" + hex.EncodeToString([]byte(hash))},
		"namecoin, later segwit":    {namecoin, segwit("nc", 1, bech32.EncodeM), "5114" + hex.EncodeToString([]byte(hash))},
		"segwit, wrong checksum":    {namecoin, segwit("nc", 1, bech32.Encode), "!checksum"},
		"another prefix":            {namecoin, segwit("tb", 0, bech32.Encode), "!is for testnet3"},
		"a version of nobody":       {namecoin, base58.CheckEncode([]byte(hash), 99), "!not an address of this chain"},
		"bitcoin on namecoin":       {namecoin, base58.CheckEncode([]byte(hash), 0), "!is for mainnet"},
		"namecoin on bitcoin":       {networkOf(mainnet, ""), base58.CheckEncode([]byte(hash), 52), "!is for namecoin"},
		"no segwit on BCH":          {networkOf(mainnet, "/Bitcoin Cash Node:27.0.0/"), "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "!is for mainnet"},
		"the old form on SV":        {networkOf(mainnet, "/Bitcoin SV:1.0.11/"), base58.CheckEncode([]byte(hash), 0), "76a914" + hex.EncodeToString([]byte(hash)) + "88ac"},
		"a chain that nobody knows": {unknown, base58.CheckEncode([]byte(hash), 0), "!is for mainnet"},
		"nobody's address there":    {unknown, "xyz", "!--payout-script"},
		"a script":                  {unknown, "script:76a9", "76a9"},
		"a script on mainnet":       {networkOf(mainnet, ""), "script:51", "51"},
		"a script that is none":     {unknown, "script:76a", "!hexadecimal"},
		"no script":                 {unknown, "script:", "!0 bytes"},
		"a script without an end":   {unknown, "script:" + strings.Repeat("51", 521), "!521 bytes"},
		"money for nobody":          {unknown, "script:6a00", "!never be spent"},
		"a push that is cut":        {unknown, "script:0014" + strings.Repeat("07", 19), "!never be spent"},
		"a push without a length":   {unknown, "script:514d01", "!never be spent"},
		"a key":                     {unknown, "script:02" + strings.Repeat("51", 32), "!public key"},
		"a long key":                {unknown, "script:04" + strings.Repeat("51", 64), "!public key"},
		"the script of a key":       {unknown, "script:21" + strings.Repeat("02", 33) + "ac", "21" + strings.Repeat("02", 33) + "ac"},
	} {
		t.Run(name, func(t *testing.T) {
			script, err := c.network.PayoutScript(c.address)
			if text, bad := strings.CutPrefix(c.want, "!"); bad {
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("%x %v, want an error with %q", script, err, text)
				}
				return
			}
			if got := hex.EncodeToString(script); err != nil || got != c.want {
				t.Errorf("%s %v, want %s", got, err, c.want)
			}
		})
	}
	if !namecoin.NoVersionRolling || networkOf(mainnet, "").NoVersionRolling || unknown.NoVersionRolling {
		t.Error("version rolling: namecoin's version means something, others' do not")
	}
	if unknown.Name != "chain-1212121212121212" || unknown.steadyBits(500) || unknown.EasyWhenLate(500) || unknown.subsidy(1) != 0 {
		t.Errorf("unknown chain: %+v", unknown)
	}
}

// TestStrangeAddresses: who mistypes, or gives the address of another chain, hears what is
// wrong.
func TestStrangeAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9":                        "Litecoin",
		"LVg2kJoFNg45Nbpy53h7Fe1wKyeXVRhMH9":                                 "Litecoin",
		"MQMcJhpWHYVeQArcZR3sBgyPZxxRtnH441":                                 "Litecoin",
		"DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L":                                 "Dogecoin",
		"bitcoin:bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4":                 "without bitcoin:",
		"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4\n":                       "the end of a line",
		"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5":                         "mistyped",
		"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3T4":                         "capital letters",
		"1BpEi6DfDAUFd7GtittLSdBeYJvcoaVggv":                                 "mistyped",
		"bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6q":             "mistyped",
		"ecash:qpm2qsznhks23z7629mms6s4cwef74vcwvn0h82":                      "mistyped",
		"bchtest:Qpm2qsznhks23z7629mms6s4cwef74vcwvqcw003ap":                 "capital letters",
		"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig":                     "without the name of a worker",
		"bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs":                               "can spend from yet",
		"BC1SW50QGDZ25J":                                                     "can spend from yet",
		"76a91476a04053bda0a88bda5177b86a15c3b29f55987388ac":                 "script:76a914",
		"0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798": "public key",
		"me.rig": "--payout-script",
		"0x52908400098527886E0F7030069857D2E4169EE7": "--payout-script",
		"": "--payout-script",
		"xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8": "a key and not an address",
	} {
		if err := CheckAddress(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// TestCousinsOfTestNetworks: the test networks of chains that came out of Bitcoin have its
// first blocks, too, and prefixes of their own.
func TestCousinsOfTestNetworks(t *testing.T) {
	testnet, regtest := chaincfg.TestNet3Params.GenesisHash.String(), chaincfg.RegressionNetParams.GenesisHash.String()
	for name, c := range map[string]struct{ genesis, software, prefix string }{
		"bitcoincash-testnet3": {testnet, "/Bitcoin Cash Node:28.0.1/", "bchtest"},
		"bitcoincash-testnet4": {"000000001dd410c49a788668ce26751718cc797474d3152a5fc073dd44fd9f7b", "/Bitcoin Cash Node:28.0.1(EB2.0; testnet4)/", "bchtest"},
		"bitcoincash-regtest":  {regtest, "/Bitcoin Cash Node:28.0.1/", "bchreg"},
		"ecash-testnet3":       {testnet, "/Bitcoin ABC:0.30.0(EB32.0)/", "ectest"},
		"ecash-regtest":        {regtest, "/Bitcoin ABC:0.30.0(EB32.0)/", "ecregtest"},
		"bitcoinsv-regtest":    {regtest, "/Bitcoin SV:1.0.16/", ""},
		"testnet3":             {testnet, "/Satoshi:29.0.0/", ""},
		"regtest":              {regtest, "/Satoshi:29.0.0/", ""},
	} {
		network := networkOf(c.genesis, c.software)
		if network.Name != name {
			t.Errorf("%s is taken for %s", name, network.Name)
			continue
		}
		const hash = "d39b00b07e0ebc72fea383830264fd33e6dc16aa"
		raw, err := hex.DecodeString(hash)
		if err != nil {
			t.Fatal(err)
		}
		const want = "76a914" + hash + "88ac"
		if script, err := network.PayoutScript(base58.CheckEncode(raw, 111)); err != nil || hex.EncodeToString(script) != want {
			t.Errorf("%s: %x, %v", name, script, err)
		}
		for prefix, address := range map[string]string{ // of one key
			"bchtest": "qrfekq9s0c8tcuh75wpcxqnyl5e7dhqk4gmw07xth0", "ectest": "qrfekq9s0c8tcuh75wpcxqnyl5e7dhqk4gq6pjct44",
			"bchreg": "qrfekq9s0c8tcuh75wpcxqnyl5e7dhqk4gpjel9c5f", "ecregtest": "qrfekq9s0c8tcuh75wpcxqnyl5e7dhqk4gwvrm0xff",
		} {
			script, err := network.PayoutScript(prefix + ":" + address)
			if (err == nil) != (prefix == c.prefix) || err == nil && hex.EncodeToString(script) != want {
				t.Errorf("%s, %s: %x, %v", name, prefix, script, err)
			}
		}
	}
}

// TestIdentifyCousins: nodes of chains that share Bitcoin's first blocks are told apart.
func TestIdentifyCousins(t *testing.T) {
	for software, want := range map[string]string{
		"/Satoshi:28.1.0/": "mainnet", "/Satoshi:29.0.0/Knots:20250305/": "mainnet", "/Bitcoin Cash Node:27.1.0(EB32.0)/": "bitcoincash",
		"/Bitcoin ABC:0.30.0(EB32.0)/": "ecash", "/Bitcoin SV:1.0.16/": "bitcoinsv", "": "mainnet",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var request struct {
				Method string
				Params []any
			}
			_ = json.NewDecoder(r.Body).Decode(&request)
			if request.Method == "getblockhash" && request.Params[0] != 0.0 {
				_, _ = io.WriteString(w, `{"result":null,"error":{"code":-8,"message":"Block height out of range"},"id":1}`)
				return
			}
			result := map[string]any{"getblockhash": Networks()[0].Genesis, "getnetworkinfo": map[string]any{"subversion": software}}[request.Method]
			_ = json.NewEncoder(w).Encode(map[string]any{"result": result, "error": nil, "id": 1})
		}))
		n, err := New(Options{URL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		id, err := n.Identify(t.Context())
		if err != nil || id.Network.Name != want {
			t.Errorf("%q: %q, %v; want %s", software, id.Network.Name, err, want)
		}
		n.Close()
		server.Close()
	}
}

// TestSilentCousins: nodes that may not, or cannot, say what they are are told apart by the
// blocks in which their chains have parted.
func TestSilentCousins(t *testing.T) {
	const (
		bitcoin = "00000000000000000019f112ec0a9982926f1258cdcc558dd7c3b7e5dc7fa148"
		cash    = "000000000000000000651ef99cb9fcbe0dadde1d424bd9f15ff20136191a5eec"
		sv      = "000000000000000001d956714215d96ffc00e0afda4cd0a96c96f8d802b1662b"
		ecash   = "000000000000000004284c9d8b2c8ff731efeaec6be50729bdc9bd07f910757d"
	)
	other := strings.Repeat("0", 20) + strings.Repeat("7", 44)
	for _, c := range []struct {
		blocks map[int64]string
		want   string
	}{
		{map[int64]string{478559: bitcoin, 556767: other, 661648: other}, "mainnet"},
		{map[int64]string{478559: cash, 556767: other, 661648: other}, "bitcoincash"},
		{map[int64]string{478559: cash}, "bitcoincash"},
		{map[int64]string{478559: cash, 556767: sv, 661648: other}, "bitcoinsv"},
		{map[int64]string{478559: cash, 556767: other, 661648: ecash}, "ecash"},
		{map[int64]string{478559: other}, "chain-7777777777777777"},
		{map[int64]string{478559: Networks()[0].Genesis, 556767: Networks()[0].Genesis, 661648: Networks()[0].Genesis}, "mainnet"}, // for every height
		{map[int64]string{478559: "nothing"}, "mainnet"},
		{map[int64]string{478559: "null", 556767: "null", 661648: "null"}, "mainnet"},
		{nil, "mainnet"}, // it has yet to fetch them, and gives no work
	} {
		for _, silence := range []string{"forbidden", "unknown", "no version in it", "btcd"} {
			n, _ := nodeAt(t, func(w http.ResponseWriter, r *http.Request) {
				var request struct {
					Method string
					Params []any
				}
				_ = json.NewDecoder(r.Body).Decode(&request)
				reply := map[string]any{"result": nil, "error": map[string]any{"code": -32601, "message": "Method not found"}, "id": 1}
				switch {
				case request.Method == "getblockhash":
					hash := c.blocks[int64(request.Params[0].(float64))]
					if request.Params[0] == 0.0 {
						hash = Networks()[0].Genesis
					}
					reply = map[string]any{"result": hash, "error": nil, "id": 1}
					switch hash {
					case "null":
						reply = map[string]any{"result": nil, "error": nil, "id": 1}
					case "":
						reply = map[string]any{"result": nil, "error": map[string]any{"code": -8, "message": "Block height out of range"}, "id": 1}
					}
				case request.Method == "getnetworkinfo" && silence == "forbidden":
					w.WriteHeader(http.StatusForbidden)
					return
				case request.Method == "getnetworkinfo" && silence == "no version in it":
					reply = map[string]any{"result": map[string]any{"version": 270100}, "error": nil, "id": 1}
				case request.Method == "version" && silence == "btcd": // bchd has it from btcd
					reply = map[string]any{"result": map[string]any{"btcdjsonrpcapi": map[string]any{"versionstring": "1.3.0"}}, "error": nil, "id": 1}
				}
				_ = json.NewEncoder(w).Encode(reply)
			})
			if id, err := n.Identify(t.Context()); err != nil || id.Network.Name != c.want {
				t.Errorf("%v, %s: %q, %v; want %s", c.blocks, silence, id.Network.Name, err, c.want)
			}
		}
	}
}

// TestCheckBits: no block of a network is easier than its easiest.
func TestCheckBits(t *testing.T) {
	easiest := map[string]uint32{
		"mainnet": 0x1d00ffff, "testnet3": 0x1d00ffff, "testnet4": 0x1d00ffff, "signet": 0x1e0377ae, "simnet": 0x207fffff, "regtest": 0x207fffff,
	}
	for _, n := range Networks() {
		bits, known := easiest[n.Name]
		if !known {
			bits = 0x207fffff // nothing is known of a cousin's
		}
		if err := n.CheckBits(bits); err != nil {
			t.Errorf("%s: the easiest: %v", n.Name, err)
		}
		if err := n.CheckBits(0x170331db); err != nil {
			t.Errorf("%s: hard ones: %v", n.Name, err)
		}
		if bits++; bits == 0x20800000 { // a sign
			bits = 0x2100ffff
		}
		if err := n.CheckBits(bits); known && err == nil {
			t.Errorf("%s: easier than the easiest", n.Name)
		}
	}
}

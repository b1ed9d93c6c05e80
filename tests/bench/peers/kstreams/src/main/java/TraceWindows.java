import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import io.opentelemetry.proto.trace.v1.ResourceSpans;
import io.opentelemetry.proto.trace.v1.ScopeSpans;
import io.opentelemetry.proto.trace.v1.Span;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.Suppressed;

/**
 * One rule on whole traces, written for Kafka Streams: spans are grouped by trace in session windows (RocksDB, with
 * its changelog), and when a window closes a signal goes out for a payment that did not reach the ledger.
 *
 * <p>A window's state is one number: how many spans it has, and in its two lowest bits which of the two spans were
 * seen. That is less than BeTrace keeps, which also shows its witnesses.
 *
 * <p>Usage: TraceWindows BOOTSTRAP SOURCE SIGNALS APPLICATION STATE_DIR THREADS SPANS. Prints the seconds from the
 * first record until SPANS spans are in their windows, how many signals went out until then, and how many spans were
 * late: Kafka Streams drops a record that comes after its window. Then it ends.
 */
public final class TraceWindows {
  private static final int PAYMENT = 1;
  private static final int LEDGER = 2;
  private static final int FLAGS = PAYMENT | LEDGER;
  private static final int FLAG_BITS = 2;
  private static final Duration GAP = Duration.ofSeconds(30);
  private static final Duration OUT_OF_ORDER = Duration.ofSeconds(2);
  private static final long CACHE_BYTES = 256L << 20;
  private static final long LOOK_EVERY_MS = 10;

  private static final long STILL_NS = 5_000_000_000L;

  private final AtomicLong firstNs = new AtomicLong();
  private final AtomicLong lastNs = new AtomicLong();
  private final AtomicLong readCount = new AtomicLong();
  private final AtomicLong spanCount = new AtomicLong();
  private final AtomicLong signalCount = new AtomicLong();

  public static void main(String[] arguments) throws InterruptedException {
    new TraceWindows().run(arguments);
  }

  private void run(String[] arguments) throws InterruptedException {
    long expected = Long.parseLong(arguments[6]);
    try (KafkaStreams streams = new KafkaStreams(flow(arguments[1], arguments[2]).build(), settings(arguments))) {
      streams.start();
      while (spanCount.get() < expected && !isStill(expected)) {
        Thread.sleep(LOOK_EVERY_MS);
      }
      double seconds = (lastNs.get() - firstNs.get()) / 1e9;
      long late = Math.max(0, expected - spanCount.get());
      System.out.printf("{\"seconds\":%.3f,\"signals\":%d,\"late\":%d}%n", seconds, signalCount.get(), late);
      System.out.flush();
      // An orderly end would write all state once more, which nobody asked for.
      Runtime.getRuntime().halt(0);
    }
  }

  /** All was read, and for a while nothing of it came to a window: the rest was late. */
  private boolean isStill(long expected) {
    return readCount.get() >= expected && System.nanoTime() - lastNs.get() > STILL_NS;
  }

  private static Properties settings(String[] arguments) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", arguments[0]);
    settings.put("application.id", arguments[3]);
    settings.put("state.dir", arguments[4]);
    settings.put("num.stream.threads", arguments[5]);
    settings.put("auto.offset.reset", "earliest");
    settings.put("statestore.cache.max.bytes", CACHE_BYTES);
    settings.put("producer.linger.ms", 20);
    settings.put("producer.batch.size", 256 << 10);
    settings.put("consumer.max.poll.records", 5000);
    settings.put("consumer.max.partition.fetch.bytes", 8 << 20);
    return settings;
  }

  private StreamsBuilder flow(String source, String signals) {
    StreamsBuilder builder = new StreamsBuilder();
    builder.stream(source, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .flatMap((key, value) -> traces(value))
        .groupByKey(Grouped.with(Serdes.String(), Serdes.Integer()))
        .windowedBy(SessionWindows.ofInactivityGapAndGrace(GAP, OUT_OF_ORDER))
        .aggregate(() -> 0, this::added, (key, one, other) -> joined(one, other),
            Materialized.with(Serdes.String(), Serdes.Integer()))
        .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
        .toStream()
        .filter((window, state) -> state != null && (state & FLAGS) == PAYMENT)
        .map((window, state) -> signal(window.key()))
        .to(signals, Produced.with(Serdes.String(), Serdes.String()));
    return builder;
  }

  private List<KeyValue<String, Integer>> traces(byte[] record) {
    firstNs.compareAndSet(0, System.nanoTime());
    Map<String, Integer> found = new HashMap<>();
    for (ResourceSpans resource : parsed(record).getResourceSpansList()) {
      for (ScopeSpans scope : resource.getScopeSpansList()) {
        for (Span span : scope.getSpansList()) {
          String trace = HexFormat.of().formatHex(span.getTraceId().toByteArray());
          found.merge(trace, 1 << FLAG_BITS | flags(span), TraceWindows::joined);
          readCount.incrementAndGet();
        }
      }
    }
    List<KeyValue<String, Integer>> pairs = new ArrayList<>(found.size());
    found.forEach((trace, state) -> pairs.add(KeyValue.pair(trace, state)));
    return pairs;
  }

  private static ExportTraceServiceRequest parsed(byte[] record) {
    try {
      return ExportTraceServiceRequest.parseFrom(record);
    } catch (com.google.protobuf.InvalidProtocolBufferException error) {
      throw new IllegalArgumentException(error);
    }
  }

  private static int flags(Span span) {
    return switch (span.getName()) {
      case "payments /v1/pay" -> PAYMENT;
      case "HTTP ledger" -> LEDGER;
      default -> 0;
    };
  }

  private int added(String trace, int state, int sum) {
    spanCount.addAndGet(state >> FLAG_BITS);
    lastNs.set(System.nanoTime());
    return joined(sum, state);
  }

  private static int joined(int one, int other) {
    return (one >> FLAG_BITS) + (other >> FLAG_BITS) << FLAG_BITS | (one | other) & FLAGS;
  }

  private KeyValue<String, String> signal(String trace) {
    signalCount.incrementAndGet();
    return KeyValue.pair(trace, "a payment that did not reach the ledger");
  }
}
